"""Peer sharing in memory: shared artifacts, and a fake tracker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from phase_boot.content.pieces import encode_bitfield, piece_count
from phase_boot.drill.fake_mirrors import Sites
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.peer_sharing import SharedArtifact
from phase_boot.store.layout import ANNOUNCE
from policies.model import Reach


@dataclass
class FakeShared:
    held: int = 0

    def mark(self, bitfield: int) -> None:
        self.held = bitfield


@dataclass
class FakeNeighbours:
    """Posts to the trackers of the fake sites, and records what was shared."""

    sites: Sites
    port: int = 7000
    shared: dict[SharedArtifact, FakeShared] = field(default_factory=dict)
    said: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        self.sites.reaches.add(reach)
        base = url.removesuffix(f"/{ANNOUNCE}")
        site = self.sites.by_base.get(base)
        self.said.append((base, json.loads(body)))
        if site is None or site.tracker is None:
            raise FetchFailed("it answered HTTP 405", retryable=False)
        answer = site.tracker(body)
        if len(answer) > limit:
            raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
        return answer

    async def clear(self) -> None:
        self.shared.clear()

    async def share(
        self, share: SharedArtifact, file: int, piece_offsets: Sequence[int]
    ) -> FakeShared:
        assert file >= 0
        assert len(piece_offsets) == piece_count(share.size) + 1
        return self.shared.setdefault(share, FakeShared())


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
        asked = json.loads(raw)["roots"]
        return json.dumps(
            {
                "roots": {
                    root: self._reply(size) for root, size in self.sizes.items() if root in asked
                }
            }
        ).encode()

    def _reply(self, size: int) -> dict[str, object]:
        count = piece_count(size)
        every = (1 << count) - 1
        peers = [{"url": url, "have": encode_bitfield(every, count)} for url in self.peers]
        return {"assigned": encode_bitfield(self.assigned & every, count), "peers": peers}
