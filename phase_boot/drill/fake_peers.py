"""Peer sharing in memory: shared artifacts, and a fake tracker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from phase_boot.content.pieces import encode_bitfield, piece_count
from phase_boot.drill.fake_servers import FakeFetcher
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.peer_sharing import SharedArtifact
from phase_boot.store.layout import ANNOUNCE
from policies.model import Reach


@dataclass
class FakeShareHandle:
    """Implements `ports.peer_sharing.ShareHandle`; keeps the bitfield."""

    bitfield: int = 0

    def mark(self, bitfield: int) -> None:
        self.bitfield = bitfield


@dataclass
class FakePeerSharing:
    """Implements `ports.peer_sharing.PeerSharing`: posts to the trackers of the fake servers."""

    fetcher: FakeFetcher
    port: int = 7000
    shared: dict[SharedArtifact, FakeShareHandle] = field(default_factory=dict)
    announcements: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        self.fetcher.reaches.add(reach)
        base = url.removesuffix(f"/{ANNOUNCE}")
        server = self.fetcher.servers.get(base)
        self.announcements.append((base, json.loads(body)))
        if server is None or server.tracker is None:
            raise FetchFailed("it answered HTTP 405", retryable=False)
        answer = server.tracker(body)
        if len(answer) > limit:
            raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
        return answer

    async def clear(self) -> None:
        self.shared.clear()

    async def share(
        self, share: SharedArtifact, file: int, piece_offsets: Sequence[int]
    ) -> FakeShareHandle:
        assert file >= 0
        assert len(piece_offsets) == piece_count(share.size) + 1
        return self.shared.setdefault(share, FakeShareHandle())


@dataclass
class FakeTracker:
    """A tracker that gives every peer the same reply."""

    sizes: Mapping[str, int]
    """Sizes of the tracked artifacts, by DAG root."""
    peers: tuple[str, ...] = ()
    """Base URLs of peers that have every piece."""
    assigned: int = -1
    """The pieces that it assigns."""

    def __call__(self, raw: bytes) -> bytes:
        announced = json.loads(raw)["roots"]
        return json.dumps(
            {
                "roots": {
                    root: self._reply(size)
                    for root, size in self.sizes.items()
                    if root in announced
                }
            }
        ).encode()

    def _reply(self, size: int) -> dict[str, object]:
        count = piece_count(size)
        every = (1 << count) - 1
        peers = [{"url": url, "have": encode_bitfield(every, count)} for url in self.peers]
        return {"assigned": encode_bitfield(self.assigned & every, count), "peers": peers}
