"""The exchange of one artifact's pieces with peers: what each tracker and peer is asked for.

A tracker assigns this machine some pieces. While it does, only these are requested from it, and the
other pieces from peers, so that a provider with many clients sends each piece about once. The limit
is lifted where it would cost time: no reply, no tracker, or no chunk for `STALL_SECONDS`.
"""

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
from phase_boot.ports.peer_sharing import ShareHandle
from phase_boot.store.chunk_writer import ChunkWriter

MAX_ACTIVE_PEERS: Final = 12
"""Peers that are in use at once."""
MAX_WANTED: Final = 1024
"""Largest number of pieces that are requested of a tracker, which decides how many it assigns."""
STALL_SECONDS: Final = 5.0
"""Time without a chunk after which every chunk may be requested from the tracker."""
STARVED_SECONDS: Final = 0.3
"""Time until the next announcement where a tracker assigned nothing and peers deliver."""


class PeerSession:
    """State of one artifact: its announcement, its trackers with their limits, and its peers.

    `TrackerClient.join` makes it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it connects all of these
        self,
        context: DownloadContext,
        root: Cid,
        writer: ChunkWriter,
        swarm: Swarm,
        pieces: PieceMap,
        shared: ShareHandle,
        track: Callable[[str], bool],
    ) -> None:
        """Start without peers.

        Args:
            context: what the artifact is downloaded with.
            root: CID of the artifact's DAG, by which trackers know it.
            writer: where its chunks are written.
            swarm: where peers are added as sources.
            pieces: the artifact's pieces.
            shared: the handle by which verified pieces are served to peers.
            track: announces to a provider from now on; returns whether it may be a tracker.
        """
        self.root = root
        self._context = context
        self._artifact = writer.artifact
        self._writer: ChunkWriter | None = writer
        self._swarm: Swarm | None = swarm
        self._pieces = pieces
        self._shared = shared
        self._track = track
        self._trackers: dict[str, MirrorSource] = {}
        self._assigned: dict[str, int] = {}
        self._last_reply = float("-inf")
        self._peers: dict[str, MirrorSource] = {}
        self._suspects: set[str] = set()
        """Peers that did not answer while an earlier artifact was downloaded."""
        self._last_bytes, self._last_progress = writer.bytes_present, context.clock.monotonic()
        self._chance = random.Random()  # noqa: S311 - the first chunk is no secret

    @property
    def completed(self) -> int:
        """Bitfield of the pieces that are present and verified."""
        have = self._writer.have if self._writer is not None else None
        return self._pieces.full_bitfield if have is None else self._pieces.completed(have)

    @property
    def bytes_present(self) -> int:
        """Bytes of the artifact that are present."""
        return self._artifact.size if self._writer is None else self._writer.bytes_present

    def limit_to_assigned(self, mirror: MirrorSource) -> MirrorSource:
        """Return the mirror; while it is a tracker, it is asked for assigned chunks only."""
        writer = self._writer
        if writer is not None and self._track(mirror.name):
            self._trackers[mirror.name] = mirror
            # No chunk until the reply comes: a moment, in which no work is duplicated.
            mirror.have, mirror.have_pending = bytes(writer.chunks.count), True
        return mirror

    def lift_limit_until_reply(self, base: str) -> None:
        """Let every chunk be requested from a provider until its first reply."""
        mirror = self._trackers.get(base)
        if mirror is not None and base not in self._assigned:
            mirror.have, mirror.have_pending = None, False

    def is_suspect(self, url: str) -> bool:
        """Return whether a peer did not respond lately, to any request."""
        return self._context.is_suspect(url)

    def failed_peers(self) -> set[str]:
        """Return the peers of this artifact that do not answer."""
        swarm = self._swarm
        if swarm is None:
            return set()
        silent = {url for url, peer in self._peers.items() if swarm.unresponsive(peer)}
        return silent | self._suspects

    def lift_limit(self, base: str) -> None:
        """Let every chunk be requested from a provider: it is no tracker, or does not reply."""
        mirror = self._trackers.pop(base, None)
        if mirror is not None:
            mirror.have, mirror.have_pending = None, False

    def announcement(self) -> dict[str, Any]:
        """Serve the pieces that are present by now, and return their announcement."""
        completed = self.completed
        self._shared.mark(completed)
        count = self._pieces.count
        wants = min(MAX_WANTED, count - completed.bit_count()) if self._writer is not None else 0
        return {"have": encode_bitfield(completed, count), "want": wants}

    def awaits_first_reply(self, base: str) -> bool:
        """Return whether a tracker has not assigned anything yet."""
        return base in self._trackers and base not in self._assigned

    def wants_more(self, base: str) -> bool:
        """Return whether to announce early: more than half of the assigned pieces are present."""
        if self._writer is None or base not in self._trackers:
            return False
        assigned = self._assigned.get(base, 0)
        if not assigned:
            waited = self._context.clock.monotonic() - self._last_reply
            return waited > STARVED_SECONDS and self.bytes_present > self._last_bytes
        return (assigned & ~self.completed).bit_count() * 2 < assigned.bit_count()

    def apply_reply(self, base: str, entry: object) -> None:
        """Apply the reply of a tracker: limit it to the assigned pieces, and add the peers."""
        mirror, writer, swarm = self._trackers.get(base), self._writer, self._swarm
        if mirror is None or writer is None or swarm is None:
            return
        try:
            reply = parse_reply(entry, self._pieces.count, base)
        except ValueError:
            self.lift_limit(base)
            return
        now = self._context.clock.monotonic()
        if self.bytes_present > self._last_bytes:
            self._last_bytes, self._last_progress = writer.bytes_present, now
        stalled = now - self._last_progress > STALL_SECONDS
        mirror.have = None if stalled else self._pieces.chunk_mask(reply.assigned)
        # It assigns further pieces when these have arrived.
        mirror.have_pending = not stalled and bool(reply.assigned)
        self._assigned[base], self._last_reply = reply.assigned, now
        for url, have in reply.peers.items():
            self._add_peer(url, have)
        swarm.notify()

    def finish(self) -> None:
        """End the download; a complete artifact stays shared, an incomplete one does not."""
        complete = self._writer is not None and self._writer.complete
        self._writer = self._swarm = None
        self._trackers.clear()
        self._peers.clear()
        self._shared.mark(self._pieces.full_bitfield if complete else 0)

    def _add_peer(self, url: str, have: int) -> None:
        """Use a peer for the pieces that it is reported to have."""
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
            peer.have = self._pieces.chunk_mask(have)
            swarm.add(peer)
        elif peer is not None:
            peer.have = self._pieces.chunk_mask(have)

    def _random_start(self) -> int:
        """Return the first chunk of a random piece."""
        return self._pieces.first_chunk(self._chance.randrange(self._pieces.count))


class PeerSource(MirrorSource):
    """A peer. Each client starts at a random piece, so that they ask it for different ones."""

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
        """Return the first chunk of a random piece."""
        return self._random_start()
