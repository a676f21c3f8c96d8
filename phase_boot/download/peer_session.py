"""One artifact that we fetch beside others: what we hold, what they do, and what each is asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.pieces import PieceMap, encode_bitfield
from phase_boot.download.announce_reply import parse_reply
from phase_boot.download.context import DownloadContext
from phase_boot.download.mirror_source import MirrorSource
from phase_boot.download.swarm import Swarm
from phase_boot.ports.neighbours import Shared
from phase_boot.store.chunk_writer import ChunkWriter

MAX_ACTIVE_PEERS: Final = 12
"""Others that are asked at once."""
MAX_WANTED: Final = 1024
"""Pieces that we say we want; how many we get is the provider's to decide."""
STALL_SECONDS: Final = 5.0
"""Where nothing comes for so long, the provider is asked for what others were to hand on."""
STARVED_SECONDS: Final = 0.3
"""Who was given nothing asks again after so long."""


class PeerSession:
    """What we hold of one artifact, and what may be asked of whom.

    `TrackerClient.join` makes one. While a tracker assigns chunks, only ours are requested from it
    and the others from peers.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it stands between all of them
        self,
        context: DownloadContext,
        root: Cid,
        mosaic: ChunkWriter,
        swarm: Swarm,
        stretches: PieceMap,
        shared: Shared,
        track: Callable[[str], bool],
    ) -> None:
        """Begin beside nobody. ``track`` has a provider asked, and says whether that can be."""
        self.root = root
        self._context = context
        self._artifact = mosaic.artifact
        self._mosaic: ChunkWriter | None = mosaic
        self._swarm: Swarm | None = swarm
        self._stretches = stretches
        self._shared = shared
        self._track = track
        self._trackers: dict[str, MirrorSource] = {}
        self._assigned: dict[str, int] = {}
        self._last_reply = float("-inf")
        self._peers: dict[str, MirrorSource] = {}
        self._suspects: set[str] = set()
        """Peers that did not answer while an earlier artifact was fetched."""
        self._last_bytes, self._last_progress = mosaic.bytes_present, context.clock.monotonic()
        self._chance = random.Random()  # noqa: S311 - where one begins is no secret

    @property
    def completed(self) -> int:
        """The stretches that are here."""
        have = self._mosaic.have if self._mosaic is not None else None
        return self._stretches.full_bitfield if have is None else self._stretches.completed(have)

    @property
    def bytes_present(self) -> int:
        """Bytes that are here."""
        return self._artifact.size if self._mosaic is None else self._mosaic.bytes_present

    def limit_to_assigned(self, mirror: MirrorSource) -> MirrorSource:
        """Return the mirror, to be asked for what it gives us where others meet there."""
        mosaic = self._mosaic
        if mosaic is not None and self._track(mirror.name):
            self._trackers[mirror.name] = mirror
            # Until it has answered; a moment, and nobody takes what another one is about to.
            mirror.have = bytes(mosaic.chunks.count)
        return mirror

    def lift_limit_until_reply(self, base: str) -> None:
        """Let a provider be asked for everything until it says what is ours."""
        mirror = self._trackers.get(base)
        if mirror is not None and base not in self._assigned:
            mirror.have = None

    def is_suspect(self, url: str) -> bool:
        """Say whether a peer did not answer lately, whatever it was asked for."""
        return self._context.is_suspect(url)

    def failed_peers(self) -> set[str]:
        """Return the peers that were asked for some of it and do not answer."""
        swarm = self._swarm
        if swarm is None:
            return set()
        silent = {url for url, peer in self._peers.items() if swarm.unresponsive(peer)}
        return silent | self._suspects

    def lift_limit(self, base: str) -> None:
        """Let a provider be asked for everything: nobody meets there."""
        mirror = self._trackers.pop(base, None)
        if mirror is not None:
            mirror.have = None

    def announcement(self) -> dict[str, Any]:
        """Hand on what is here by now, and return what is said of it."""
        held = self.completed
        self._shared.mark(held)
        count = self._stretches.count
        wants = min(MAX_WANTED, count - held.bit_count()) if self._mosaic is not None else 0
        return {"held": encode_bitfield(held, count), "wants": wants}

    def awaits_first_reply(self, base: str) -> bool:
        """Say whether a provider has not said anything yet of what it may be asked for."""
        return base in self._trackers and base not in self._assigned

    def wants_more(self, base: str) -> bool:
        """Say whether most of what a provider gave us is here, so that it is asked for more."""
        if self._mosaic is None or base not in self._trackers:
            return False
        given = self._assigned.get(base, 0)
        if not given:
            waited = self._context.clock.monotonic() - self._last_reply
            return waited > STARVED_SECONDS and self.bytes_present > self._last_bytes
        return (given & ~self.completed).bit_count() * 2 < given.bit_count()

    def apply_reply(self, base: str, said: object) -> None:
        """Take what a provider says of this artifact: what is ours to take, who has the rest."""
        mirror, mosaic, swarm = self._trackers.get(base), self._mosaic, self._swarm
        if mirror is None or mosaic is None or swarm is None:
            return
        try:
            reply = parse_reply(said, self._stretches.count, base)
        except ValueError:
            self.lift_limit(base)
            return
        now = self._context.clock.monotonic()
        if self.bytes_present > self._last_bytes:
            self._last_bytes, self._last_progress = mosaic.bytes_present, now
        stalled = now - self._last_progress > STALL_SECONDS
        mirror.have = None if stalled else self._stretches.chunk_mask(reply.assigned)
        self._assigned[base], self._last_reply = reply.assigned, now
        for url, held in reply.peers.items():
            self._add_peer(url, held)
        swarm.notify()

    def finish(self) -> None:
        """Fetch no more; an artifact that is here as a whole is handed on all the same."""
        complete = self._mosaic is not None and self._mosaic.complete
        self._mosaic = self._swarm = None
        self._trackers.clear()
        self._peers.clear()
        self._shared.mark(self._stretches.full_bitfield if complete else 0)

    def _add_peer(self, url: str, held: int) -> None:
        """Ask another machine for what it is said to hold."""
        peer, swarm = self._peers.get(url), self._swarm
        if peer is None and self._context.is_suspect(url):
            self._suspects.add(url)
            return
        if peer is None and swarm is not None:
            if sum(each in swarm.active for each in self._peers.values()) >= MAX_ACTIVE_PEERS:
                return
            peer = self._peers[url] = PeerSource(
                self._context, url, self._artifact, self._random_start
            )
            peer.have = self._stretches.chunk_mask(held)
            swarm.add(peer)
        elif peer is not None:
            peer.have = self._stretches.chunk_mask(held)

    def _random_start(self) -> int:
        """Return the first chunk of any stretch."""
        return self._stretches.first_chunk(self._chance.randrange(self._stretches.count))


class PeerSource(MirrorSource):
    """Another machine that fetches; not all ask it for the same at first."""

    def __init__(
        self,
        context: DownloadContext,
        base: str,
        artifact: Artifact,
        random_start: Callable[[], int],
    ) -> None:
        super().__init__(context, base, artifact)
        self._random_start = random_start

    def start_chunk(self) -> int:
        """Return the first chunk of a random stretch."""
        return self._random_start()
