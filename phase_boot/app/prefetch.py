"""`phase-boot fetch`: downloads what a manifest names into a store, without booting it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from phase_boot.adapters.net.address_watch import AddressWatch
from phase_boot.adapters.storage.folder_store import FolderOpener
from phase_boot.adapters.system import sinks
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.adapters.wan.bitswap_client import BitswapClient
from phase_boot.adapters.wan.libp2p_client import Libp2pClient, command
from phase_boot.app.edge import FAILED, USAGE
from phase_boot.app.prefetch_manifest import FoundManifest, NowhereToLook, Peers, find_manifest
from phase_boot.app.prefetch_plan import InvalidRequest, Plan, PrefetchRequest, plan_of
from phase_boot.console.display import display_of
from phase_boot.console.lines import Console
from phase_boot.discovery.artifact_sources import named_mirrors, sources_beyond_mirrors
from phase_boot.discovery.record_sources import RecordSources
from phase_boot.download import (
    ArtifactUnavailable,
    DownloadContext,
    Sources,
    TrackerClient,
    fetch_artifact,
)
from phase_boot.journal.event import Event
from phase_boot.journal.journal import Journal, Sink
from phase_boot.ports.clock import Clock
from phase_boot.ports.network import own_addresses
from phase_boot.privsep.worker import NetworkWorker
from phase_boot.store.errors import StoreError
from phase_boot.url import bases


def prefetch(request: PrefetchRequest, worker: NetworkWorker) -> int:
    """Download all artifacts of the manifest; return the exit status, 0 if the store has them."""
    try:
        plan = plan_of(request)
        files = sinks.asked_for(request.journal)
    except (InvalidRequest, sinks.JournalUnusable) as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    return asyncio.run(_prefetch(plan, worker, files))


async def _prefetch(plan: Plan, worker: NetworkWorker, files: Sequence[Sink]) -> int:
    clock, fetcher = SystemClock(), worker.client()
    console = Console(sys.stderr.write, display_of(sys.stderr), start=clock.monotonic())
    boot_id = os.urandom(6).hex()
    journal = Journal([console, *files], now=clock.monotonic, boot_id=boot_id)
    libp2p = Libp2pClient(command(None))
    peers = Peers(dht=libp2p, blocks=BitswapClient(libp2p))
    try:
        plan = replace(plan, own=await _own_addresses())
        store = await FolderOpener(plan.request.store).open(persistent=True, bound=plan.bound)
        context = DownloadContext(
            clock=clock,
            fetcher=fetcher,
            store=store.cas,
            policy=plan.policy,
            banned=set(),
            emit=journal.emit,
        )
        found = await find_manifest(plan, context, peers, store)
        if found is None:
            return FAILED
        manifest = found.manifest
        store.cas.pin(*(artifact.digest for artifact in manifest.artifacts.values()))
        tracker = _tracker(plan, worker, clock, journal.emit)
        sources = replace(
            _sources(plan, found, peers),
            tracker=tracker,
            chunk_lists=manifest.lists_of_dags(),
        )
        for name, artifact in manifest.artifacts.items():
            fetched, _ = await fetch_artifact(context, sources, artifact, manifest.dags.get(name))
            fetched.close()
        if tracker is not None:
            sys.stderr.write(
                f"The store is complete and is served to peers at port {worker.port}; "
                "press Ctrl-C to stop.\n"
            )
            await asyncio.Event().wait()
    except NowhereToLook as failure:
        sys.stderr.write(f"{failure}\n")
    except (ArtifactUnavailable, StoreError) as failure:
        sys.stderr.write(f"The store is not complete: {failure}\n")
    else:
        return 0
    finally:
        await libp2p.stop()
        journal.flush()
    return FAILED


def _sources(plan: Plan, found: FoundManifest, peers: Peers) -> Sources:
    """Return the sources of the artifacts: those that a boot would use."""
    policy, manifest, candidate = plan.policy, found.manifest, found.candidate
    records = (candidate.record, *found.records)
    named = RecordSources(records, manifest.channel, manifest.arch, own=plan.own)
    base = candidate.base(manifest.arch, manifest.channel)
    offered = bases(base) if base else ()
    mirrors = (*offered, *plan.sources, *named_mirrors(base, manifest, named))
    sources = sources_beyond_mirrors(
        policy,
        policy.servers(announced=bool(found.chain.announcers)),
        named,
        exchange=peers.blocks,
        own=plan.own,
    )
    return replace(sources, mirrors=tuple(dict.fromkeys(mirrors)))


async def _own_addresses() -> frozenset[str]:
    async with aclosing(AddressWatch(loopback=True).changes()) as snapshots:
        return own_addresses(await anext(snapshots))


def _tracker(
    plan: Plan, worker: NetworkWorker, clock: Clock, emit: Callable[[Event], None]
) -> TrackerClient | None:
    if plan.request.serve is None:
        return None
    return TrackerClient(
        worker.peer_channel(), clock=clock, reach=plan.policy.network.reach, emit=emit
    )
