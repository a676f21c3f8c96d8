"""Peers of libp2p: whether they may be asked, and a manifest from them by its CID.

A manifest from peers is verified like one of a server.
"""

from __future__ import annotations

from contextlib import aclosing

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid
from phase_boot.discovery.record_sources import RecordSources
from phase_boot.download import DownloadContext, PeerSearch, ProviderSearch
from phase_boot.ports.block_exchange import BlockExchange
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import Candidate, block_in
from phase_boot.trust.strict_json import MAX_BYTES
from policies.model import Mode, Policy, Reach
from policies.servers import Servers


def may_ask_peers(policy: Policy, servers: Servers) -> bool:
    """Return whether peers of libp2p may be asked for blocks.

    No machine beyond the LAN is asked where the reach ends there. In Private mode only a policy
    that names peers of the DHT lets strangers see this machine.
    """
    private = policy.mode is Mode.PRIVATE and not servers.bootstrap
    return policy.network.reach is Reach.INTERNET and not private


async def read_manifest(
    context: DownloadContext, exchange: BlockExchange, candidate: Candidate, arch: Arch
) -> bytes:
    """Return the block that a candidate's URL names, from peers.

    Raises:
        FetchFailed: no peer sent it.
    """
    policy, cid = context.policy, block_in(candidate.url)
    if cid is None:
        raise FetchFailed("it is no block", retryable=False)
    servers = policy.servers(announced=True)
    named = RecordSources((candidate.record,), policy.channel, arch)
    routed = ProviderSearch(servers.routers)
    try:
        search = PeerSearch(
            exchange, named=named.providers(), routed=routed, bootstrap=servers.bootstrap
        )
        blocks = await search.blocks(context, "manifest", cid)
    finally:
        await routed.close()
    if blocks is None:
        raise FetchFailed("no peer of libp2p is known that has it", retryable=False)
    async with aclosing(blocks.fetch([(cid, MAX_BYTES)])) as received:
        block = await anext(received)
    if Cid.of(cid.codec, block) != cid:
        raise FetchFailed("another block came from peers", retryable=False)
    return block
