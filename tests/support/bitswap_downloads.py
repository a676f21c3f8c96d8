"""Downloads of one artifact by bitswap alone, through the real process that speaks libp2p."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.adapters.wan.bitswap_client import BitswapClient
from phase_boot.adapters.wan.libp2p_client import Libp2pClient
from phase_boot.content import car
from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.download import DownloadContext, PeerSearch, Sources, fetch_artifact
from phase_boot.drill.fake_servers import FakeFetcher
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.journal.content_events import SourceFailed
from phase_boot.journal.event import Event
from phase_boot.store.content_store import ContentStore
from policies.model import policy_from
from tests.support.artifacts import content
from tests.support.downloads import artifact_of
from tests.support.kubo import KuboNode


def provided_by(node: KuboNode, data: bytes) -> Cid:
    """Put a file into a node, in the chunks of a publisher, and return the root of its DAG."""
    chunks = build_chunk_list(BytesIO(data), DEFAULT_PARAMS)
    tree = build_dag(chunks)
    leaves = [data[chunk.offset : chunk.offset + chunk.size] for chunk in chunks]
    blocks = [*tree.nodes, *((Cid.of(Codec.RAW, leaf), leaf) for leaf in leaves)]
    node.import_car(b"".join(car.write(tree.root, blocks)))
    return tree.root


def address_of(node: KuboNode) -> str:
    """Return the TCP address of a node, with its id."""
    addresses: list[str] = json.loads(node.api("id"))["Addresses"]
    return next(each for each in addresses if "/tcp/" in each)


@dataclass
class BitswapDownload:
    """A download from peers, and its events."""

    process: Libp2pClient = field(default_factory=Libp2pClient)
    events: list[Event] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)

    async def fetch(self, data: bytes, root: Cid, named: Iterable[str], **search: Any) -> bytes:
        """Return the artifact; raise ArtifactUnavailable if no peer delivers it."""
        peers = tuple(named)
        # A peer of the policy on loopback says that this network is used.
        near = {"bootstrap": peers[-1:]} | search
        context = DownloadContext(
            clock=SystemClock(),
            fetcher=FakeFetcher(),
            store=ContentStore(MemoryDisk(), bound=1 << 30),
            policy=policy_from(policy_table()),
            banned=set(),
            emit=self.events.append,
            **self.changes,
        )
        found = PeerSearch(BitswapClient(self.process), named=peers, **near)
        try:
            fetched, source = await fetch_artifact(
                context, Sources(peer_search=found), artifact_of(data), root
            )
        finally:
            await self.process.stop()
        assert source == "bitswap"
        return content(fetched)

    @property
    def failures(self) -> set[str]:
        return {event.reason for event in self.events if isinstance(event, SourceFailed)}
