"""One artifact that we fetch beside others: what we hold, what they do, and what each is asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.pieces import Stretches, as_text
from phase_boot.download.announce_reply import read_told
from phase_boot.download.context import Errand
from phase_boot.download.mirror_source import Mirror
from phase_boot.download.swarm import Swarm
from phase_boot.ports.neighbours import Shared
from phase_boot.store.mosaic import Mosaic

MOST_PEERS: Final = 12
"""Others that are asked at once."""
MOST_WANTED: Final = 1024
"""Stretches that we say we want; how many we get is the provider's to decide."""
STALL_SECONDS: Final = 5.0
"""Where nothing comes for so long, the provider is asked for what others were to hand on."""
STARVED_SECONDS: Final = 0.3
"""Who was given nothing asks again after so long."""


class Seat:
    """What we hold of one artifact, and what may be asked of whom.

    Only ``Circle.seat`` makes one. As long as a provider shares out what it has, it is asked for
    our part alone, and whoever holds the others for those.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it stands between all of them
        self,
        errand: Errand,
        root: Cid,
        mosaic: Mosaic,
        swarm: Swarm,
        stretches: Stretches,
        shared: Shared,
        visit: Callable[[str], bool],
    ) -> None:
        """Begin beside nobody. ``visit`` has a provider asked, and says whether that can be."""
        self.root = root
        self._errand = errand
        self._artifact = mosaic.artifact
        self._mosaic: Mosaic | None = mosaic
        self._swarm: Swarm | None = swarm
        self._stretches = stretches
        self._shared = shared
        self._visit = visit
        self._hosts: dict[str, Mirror] = {}
        self._given: dict[str, int] = {}
        self._heard = float("-inf")
        self._peers: dict[str, Mirror] = {}
        self._suspects: set[str] = set()
        """Peers that did not answer while an earlier artifact was fetched."""
        self._had, self._moved = mosaic.held, errand.clock.monotonic()
        self._chance = random.Random()  # noqa: S311 - where one begins is no secret

    @property
    def held(self) -> int:
        """The stretches that are here."""
        have = self._mosaic.have if self._mosaic is not None else None
        return self._stretches.everything if have is None else self._stretches.held(have)

    @property
    def bytes(self) -> int:
        """Bytes that are here."""
        return self._artifact.size if self._mosaic is None else self._mosaic.held

    def host(self, mirror: Mirror) -> Mirror:
        """Return the mirror, to be asked for what it gives us where others meet there."""
        mosaic = self._mosaic
        if mosaic is not None and self._visit(mirror.name):
            self._hosts[mirror.name] = mirror
            # Until it has answered; a moment, and nobody takes what another one is about to.
            mirror.held = bytes(mosaic.chunks.count)
        return mirror

    def lift(self, base: str) -> None:
        """Let a provider be asked for everything until it says what is ours."""
        mirror = self._hosts.get(base)
        if mirror is not None and base not in self._given:
            mirror.held = None

    def suspects(self, url: str) -> bool:
        """Say whether a peer did not answer lately, whatever it was asked for."""
        return self._errand.is_suspect(url)

    def failed(self) -> set[str]:
        """Return the peers that were asked for some of it and do not answer."""
        swarm = self._swarm
        if swarm is None:
            return set()
        silent = {url for url, peer in self._peers.items() if swarm.unresponsive(peer)}
        return silent | self._suspects

    def release(self, base: str) -> None:
        """Let a provider be asked for everything: nobody meets there."""
        mirror = self._hosts.pop(base, None)
        if mirror is not None:
            mirror.held = None

    def notice(self) -> dict[str, Any]:
        """Hand on what is here by now, and return what is said of it."""
        held = self.held
        self._shared.mark(held)
        count = self._stretches.count
        wants = min(MOST_WANTED, count - held.bit_count()) if self._mosaic is not None else 0
        return {"held": as_text(held, count), "wants": wants}

    def awaits(self, base: str) -> bool:
        """Say whether a provider has not said anything yet of what it may be asked for."""
        return base in self._hosts and base not in self._given

    def hungers(self, base: str) -> bool:
        """Say whether most of what a provider gave us is here, so that it is asked for more."""
        if self._mosaic is None or base not in self._hosts:
            return False
        given = self._given.get(base, 0)
        if not given:
            waited = self._errand.clock.monotonic() - self._heard
            return waited > STARVED_SECONDS and self.bytes > self._had
        return (given & ~self.held).bit_count() * 2 < given.bit_count()

    def hear(self, base: str, said: object) -> None:
        """Take what a provider says of this artifact: what is ours to take, who has the rest."""
        mirror, mosaic, swarm = self._hosts.get(base), self._mosaic, self._swarm
        if mirror is None or mosaic is None or swarm is None:
            return
        try:
            told = read_told(said, self._stretches.count, base)
        except ValueError:
            self.release(base)
            return
        now = self._errand.clock.monotonic()
        if self.bytes > self._had:
            self._had, self._moved = mosaic.held, now
        stalled = now - self._moved > STALL_SECONDS
        mirror.held = None if stalled else self._stretches.marks(told.yours)
        self._given[base], self._heard = told.yours, now
        for url, held in told.peers.items():
            self._ask(url, held)
        swarm.wake()

    def leave(self) -> None:
        """Fetch no more; an artifact that is here as a whole is handed on all the same."""
        complete = self._mosaic is not None and self._mosaic.complete
        self._mosaic = self._swarm = None
        self._hosts.clear()
        self._peers.clear()
        self._shared.mark(self._stretches.everything if complete else 0)

    def _ask(self, url: str, held: int) -> None:
        """Ask another machine for what it is said to hold."""
        peer, swarm = self._peers.get(url), self._swarm
        if peer is None and self._errand.is_suspect(url):
            self._suspects.add(url)
            return
        if peer is None and swarm is not None:
            if sum(each in swarm.asked for each in self._peers.values()) >= MOST_PEERS:
                return
            peer = self._peers[url] = _Peer(self._errand, url, self._artifact, self._anywhere)
            peer.held = self._stretches.marks(held)
            swarm.add(peer)
        elif peer is not None:
            peer.held = self._stretches.marks(held)

    def _anywhere(self) -> int:
        """Return the first chunk of any stretch."""
        return self._stretches.first(self._chance.randrange(self._stretches.count))


class _Peer(Mirror):
    """Another machine that fetches; not all ask it for the same at first."""

    def __init__(
        self, errand: Errand, base: str, artifact: Artifact, anywhere: Callable[[], int]
    ) -> None:
        super().__init__(errand, base, artifact)
        self._anywhere = anywhere

    def begin(self) -> int:
        return self._anywhere()
