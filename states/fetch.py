"""Fetch: downloads the artifacts of the verified manifest, each hashed to what was signed.

The kernel comes first: whether this machine can start it is checked before the larger artifacts
are downloaded. A store on a failing Cache is replaced by one in memory.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from phase_boot.discovery.artifact_sources import named_mirrors, sources_beyond_mirrors
from phase_boot.discovery.candidates import more_providers
from phase_boot.discovery.record_sources import RecordSources
from phase_boot.download import (
    ArtifactUnavailable,
    DownloadContext,
    SourceDiscovery,
    Sources,
    TrackerClient,
    fetch_artifact,
)
from phase_boot.handoff.memory import extra_for_kernel, required_to_fetch_and_start
from phase_boot.journal.content_events import StoreOpened
from phase_boot.machine.boot import BootContext, Images, Refused, require
from phase_boot.machine.errors import CannotStore, NotConfigured, NotEnoughMemory, NoWayToStart
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.preflight import (
    UKI,
    BootSupport,
    Unstartable,
    check_handover,
    check_initramfs,
    check_kernel,
    determine_support,
    uki_is_wanted,
)
from phase_boot.ports.network import own_addresses
from phase_boot.ports.storage import OpenStore
from phase_boot.store.content_store import VerifiedFile
from phase_boot.store.errors import StoreError
from phase_boot.trust.manifest import REQUIRED, Manifest
from policies.model import Mode, Policy

MIB: Final = 1024 * 1024
GATEWAY_PREFIX: Final = "ipfs+"
"""Prefix of a gateway's URL in the list of sources that is handed over."""
DISCOVERY_SECONDS: Final = 3600.0
"""Longest search for further sources."""


async def fetch(ports: Ports, boot: BootContext) -> Step:
    """Leads to: kexec (fetched), discover (unavailable), shell (give_up)."""
    store, limits = require(boot.store, "a store"), require(boot.policy, "a policy").limits
    support = await determine_support(ports, boot)
    banned = set(boot.banned_origins)
    try:
        return await _fetch_to(ports, boot, support, store, banned)
    except StoreError as failure:
        if not store.persistent:
            raise CannotStore(str(failure)) from failure
        # A Cache that is full, read-only or dying must not stop a boot that fits into memory.
        memory = await ports.store_opener.open(persistent=False, bound=limits.cache_mib * MIB)
        ports.emit(StoreOpened(persistent=False, note=str(failure)))
    try:
        return await _fetch_to(ports, boot, support, memory, banned)
    except StoreError as failure:
        raise CannotStore(str(failure)) from failure


async def _fetch_to(
    ports: Ports, boot: BootContext, support: BootSupport, store: OpenStore, banned: set[str]
) -> Step:
    """Download all artifacts to ``store``, the kernel first; an error closes all files."""
    manifest = require(boot.manifest, "a manifest").manifest
    wanted = [manifest.artifacts[name] for name in REQUIRED]
    try:
        check_handover(boot, rootfs_on_cache=store.persistent)
    except Unstartable as failure:
        return _unavailable(boot, str(failure), banned)
    _check_memory(ports, store, manifest)
    policy = require(boot.policy, "a policy")
    context = _context(ports, policy, store, banned)
    sources = _sources(ports, boot, policy, manifest)
    store.cas.pin(*(artifact.digest for artifact in wanted))
    fetched: dict[str, VerifiedFile] = {}
    source_of: dict[str, str] = {}
    uki = manifest.artifacts.get(UKI)
    try:
        await sources.open()
        kernel, methods = None, support.boot_methods
        while wanted:
            artifact = wanted.pop(0)
            fetched[artifact.name], source_of[artifact.name] = await fetch_artifact(
                context, sources, artifact, manifest.dags.get(artifact.name)
            )
            image = fetched[artifact.name]
            if artifact.name == "initramfs":
                check_initramfs(image)
            if kernel is None:
                kernel, methods = check_kernel(ports, support, image, has_uki=uki is not None)
                extra = [uki] if uki is not None and uki_is_wanted(support, kernel, methods) else []
                wanted += extra
                store.cas.pin(*(artifact.digest for artifact in extra))
                more = extra_for_kernel(kernel, extra, stored_on_cache=store.persistent)
                if more:
                    _check_memory(ports, store, manifest, more=more)
    except (ArtifactUnavailable, Unstartable) as failure:
        _close(fetched)
        return _unavailable(boot, str(failure), context.banned)
    except BaseException:
        _close(fetched)
        raise
    finally:
        await sources.close()
    facts = replace(
        boot,
        store=store,
        images=Images(**fetched),
        kernel=kernel,
        boot_methods=methods,
        sources=tuple((name, _source_label(sources, source)) for name, source in source_of.items()),
    )
    return Step(Trigger.FETCHED, facts)


def _context(ports: Ports, policy: Policy, store: OpenStore, banned: set[str]) -> DownloadContext:
    return DownloadContext(
        clock=ports.clock,
        fetcher=ports.fetcher,
        store=store.cas,
        policy=policy,
        banned=banned,
        emit=ports.emit,
        chance=ports.chance,
    )


def _sources(ports: Ports, boot: BootContext, policy: Policy, manifest: Manifest) -> Sources:
    """Return the sources of the artifacts, the one that offered the manifest first."""
    candidate = require(boot.candidate, "a candidate")
    base = candidate.base(manifest.arch, manifest.channel)
    own = own_addresses(boot.links)
    records = (candidate.record, *boot.records)
    named = RecordSources(records, manifest.channel, manifest.arch, own=own)
    mirrors = named_mirrors(base, manifest, named)
    sources = sources_beyond_mirrors(
        policy,
        policy.servers(announced=bool(boot.chain and boot.chain.announcers)),
        named,
        exchange=ports.blocks,
        own=own,
    )
    return replace(
        sources,
        mirrors=mirrors,
        chunk_lists=manifest.lists_of_dags(),
        discovery=SourceDiscovery(
            partial(more_providers, ports, boot, DISCOVERY_SECONDS),
            known=mirrors,
            service_name=candidate.service_name,
        ),
        tracker=_tracker(ports, policy),
    )


def _tracker(ports: Ports, policy: Policy) -> TrackerClient | None:
    """Return the tracker client; None in Private mode, which shares nothing with peers."""
    if policy.mode is Mode.PRIVATE:
        return None
    return TrackerClient(
        ports.peer_sharing, clock=ports.clock, reach=policy.network.reach, emit=ports.emit
    )


def _source_label(sources: Sources, source: str) -> str:
    """Return the name of a source for the started system; a gateway is marked: it has no files."""
    gateway = source not in sources.mirrors and sources.has_gateway(source)
    return f"{GATEWAY_PREFIX}{source}" if gateway else source


def _check_memory(ports: Ports, store: OpenStore, manifest: Manifest, *, more: int = 0) -> None:
    """Raise NotEnoughMemory before a download that could not be started."""
    needed = more + required_to_fetch_and_start(
        manifest.artifacts, rootfs_on_cache=store.persistent
    )
    free = ports.platform.memory_available()
    if needed > free:
        raise NotEnoughMemory(
            f"this image takes {needed / MIB:.1f} MiB of memory and {free / MIB:.1f} MiB are free; "
            "use a machine with more memory, or a stick with a Cache partition"
        )


def _unavailable(boot: BootContext, reason: str, banned: set[str]) -> Step:
    url = boot.candidate.url if boot.candidate else ""
    return Step(
        Trigger.UNAVAILABLE,
        replace(
            boot,
            candidate=None,
            manifest=None,
            rejected_urls=boot.rejected_urls | {url},
            banned_origins=frozenset(banned),
            refusals=(*boot.refusals, Refused(url, reason)),
        ),
    )


def _close(fetched: dict[str, VerifiedFile]) -> None:
    for image in fetched.values():
        image.close()


HANDLER = Handler(
    state=State.FETCH,
    run=fetch,
    leads=frozenset({Trigger.FETCHED, Trigger.UNAVAILABLE}),
    raises=(NotConfigured, NotEnoughMemory, NoWayToStart, CannotStore),
    budget=86_400,
)
