"""Downloads over real HTTP from a gateway, alone or beside mirrors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.download import DownloadContext, Sources, fetch_artifact
from phase_boot.download.gateway_formats import GatewayFormats
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.journal.event import Event
from phase_boot.store.content_store import ContentStore
from policies.model import Reach, policy_from
from tests.support.artifacts import content


@dataclass
class GatewayDownload:
    """A download from one gateway: its URL and reach, further mirrors, and the events."""

    url: str
    reach: Reach = Reach.INTERNET
    near: bool = True
    """Whether it counts as on the local link."""
    mirrors: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Further gateways."""
    events: list[Event] = field(default_factory=list)
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    formats: GatewayFormats = field(default_factory=GatewayFormats)
    chunk_lists: dict[Cid, Cid] = field(default_factory=dict)

    async def fetch(self, artifact: Artifact, root: Cid) -> bytes:
        """Return the artifact; raise ArtifactUnavailable if the gateway does not deliver it."""
        policy = policy_from(policy_table())
        http = HttpFetcher(near=lambda _: self.near)
        context = DownloadContext(
            clock=SystemClock(),
            fetcher=http,
            store=ContentStore(self.disk, bound=1 << 30),
            policy=replace(policy, network=replace(policy.network, reach=self.reach)),
            banned=set(),
            emit=self.events.append,
            formats=self.formats,
        )
        try:
            sources = Sources(
                mirrors=self.mirrors,
                gateways=(self.url, *self.others),
                chunk_lists=self.chunk_lists,
            )
            fetched, _ = await fetch_artifact(context, sources, artifact, root)
        finally:
            await http.close()
        return content(fetched)
