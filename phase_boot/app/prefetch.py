"""`phase-boot fetch`: downloads what a manifest names into a store, without booting it.

The manifest is verified as a boot verifies it: the root is updated first, then the signatures, the
expiry and the rollback floor are checked, and what was learned is kept beside the store.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from phase_boot.adapters.storage.folder_store import FolderOpener
from phase_boot.adapters.system import sinks
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.app.edge import FAILED, USAGE
from phase_boot.console.display import display_of
from phase_boot.console.lines import Console
from phase_boot.content.arch import Arch
from phase_boot.download import (
    ArtifactUnavailable,
    DownloadContext,
    ProviderSearch,
    Sources,
    TrackerClient,
    fetch_artifact,
)
from phase_boot.download.document_reader import DocumentReader
from phase_boot.journal.content_events import ManifestVerified, StateDoubted
from phase_boot.journal.event import Event
from phase_boot.journal.journal import Journal, Sink
from phase_boot.journal.network_events import CandidateRefused
from phase_boot.machine.trust_state import (
    UpdateSession,
    load_trust_state,
    requirements_of,
    single_request,
)
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import Fetcher, FetchFailed
from phase_boot.ports.state_files import StateFiles
from phase_boot.ports.storage import OpenStore
from phase_boot.privsep.worker import NetworkWorker
from phase_boot.store.errors import StoreError
from phase_boot.store.layout import manifest_path, read_manifest_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.client import Updater
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.url import BadUrl, Url, base_url, bases, below
from policies.model import Mode, Policy, PolicyError
from policies.read import parse_policy, read_policy
from policies.servers import gateways_from
from policies.write import render_policy, trust_from_options

MIB: Final = 1024 * 1024
UNBOUNDED: Final = 1 << 60
"""Bytes of a store without a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchRequest:
    """What to download, where to, and the keys or the root to trust.

    Attributes:
        url: URL of a manifest, or of a mirror's folder.
        serve: port at which artifacts are served to peers, during the download and after it until
            the process is interrupted; 0 takes a free port, None serves nothing.
        sources: base URLs of additional mirrors, beside those that the manifest names.
        gateways: base URLs of trustless gateways of IPFS, beside those of the policy.
        policy: file of a policy; without it ``keys`` or ``root`` are trusted and the store has no
            limit.
    """

    url: str
    store: Path
    sources: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    policy: Path | None = None
    keys: tuple[str, ...] = ()
    threshold: int | None = None
    root: Path | None = None
    channel: str = "stable"
    journal: Path | None = None
    serve: int | None = None


class _InvalidRequest(Exception):
    """The request is invalid; the text is a sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A valid request, with its policy and its parsed URLs."""

    base: str
    arch: Arch
    policy: Policy
    sources: tuple[str, ...]
    gateways: tuple[str, ...]
    bound: int
    request: PrefetchRequest
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


def prefetch(request: PrefetchRequest, worker: NetworkWorker) -> int:
    """Download all artifacts of the manifest; return the exit status, 0 if the store has them."""
    try:
        plan = _plan(request)
        files = sinks.asked_for(request.journal)
    except (_InvalidRequest, sinks.JournalUnusable) as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    return asyncio.run(_prefetch(plan, worker, files))


def _plan(request: PrefetchRequest) -> _Plan:
    base, channel, arch = _locate(request)
    try:
        if request.policy is not None:
            policy = read_policy(request.policy)
            bound = policy.limits.cache_mib * MIB
        else:
            whom = trust_from_options(request.keys, request.threshold, request.root)
            text = render_policy(Mode.INTERNET, trust=whom, channel=channel)
            policy, bound = parse_policy(text.encode(), read=whom.read), UNBOUNDED
    except (PolicyError, ValueError) as error:
        raise _InvalidRequest(f"The trust options are invalid: {error}.") from error
    if not policy.cache_enabled:
        raise _InvalidRequest(f"A policy of mode {policy.mode} stores nothing; name another one.")
    if _parse_url(request.url).base(manifest_path(channel, arch)) is None:
        channel = policy.channel
    if channel != policy.channel:
        raise _InvalidRequest(f"The policy has the channel {policy.channel}, not {channel}.")
    return _Plan(
        base=base,
        arch=arch,
        policy=policy,
        sources=tuple(str(_parse_url(url)) for url in request.sources),
        gateways=_gateways(request, policy),
        bound=bound,
        request=request,
    )


def _gateways(request: PrefetchRequest, policy: Policy) -> tuple[str, ...]:
    try:
        return gateways_from((*request.gateways, *policy.discovery.gateways))
    except ValueError as error:
        raise _InvalidRequest(f"Name other gateways: {error}.") from error


def _locate(request: PrefetchRequest) -> tuple[str, str, Arch]:
    """Return the base URL, and the channel and architecture that the URL of a manifest names."""
    url = _parse_url(request.url)
    place = "/".join(url.path.rsplit("/", 3)[1:])
    named, base = read_manifest_path(place), url.base(place)
    if named is not None and base is not None:
        return str(base), *named
    try:
        folder = replace(url, path=url.path.rstrip("/"))
        return str(folder), request.channel, Arch.parse(os.uname().machine)
    except ValueError as error:
        raise _InvalidRequest(f"Name a manifest: {error}.") from error


def _parse_url(text: str) -> Url:
    try:
        return Url.parse(text)
    except BadUrl as error:
        raise _InvalidRequest(f"{text!r:.300} is not a usable URL: {error}.") from error


async def _prefetch(plan: _Plan, worker: NetworkWorker, files: Sequence[Sink]) -> int:
    clock, fetcher = SystemClock(), worker.client()
    console = Console(sys.stderr.write, display_of(sys.stderr), start=clock.monotonic())
    boot_id = os.urandom(6).hex()
    journal = Journal([console, *files], now=clock.monotonic, boot_id=boot_id)
    try:
        store = await FolderOpener(plan.request.store).open(persistent=True, bound=plan.bound)
        manifest = await _verified_manifest(
            plan, _document_reader(plan, fetcher, clock, journal.emit), store
        )
        store.cas.pin(*(artifact.digest for artifact in manifest.artifacts.values()))
        named = [*bases(plan.base), *plan.sources, *map(base_url, manifest.mirrors)]
        context = DownloadContext(
            clock=clock,
            fetcher=fetcher,
            store=store.cas,
            policy=plan.policy,
            banned=set(),
            emit=journal.emit,
        )
        sources = Sources(
            mirrors=tuple(dict.fromkeys(named)),
            gateways=plan.gateways,
            providers=ProviderSearch(plan.policy.discovery.routers, known=plan.gateways),
            tracker=_tracker(plan, worker, clock, journal.emit),
        )
        for name, artifact in manifest.artifacts.items():
            fetched, _ = await fetch_artifact(context, sources, artifact, manifest.dags.get(name))
            fetched.close()
        if sources.tracker is not None:
            sys.stderr.write(
                f"The store is complete and is served to peers at port {worker.port}; "
                "press Ctrl-C to stop.\n"
            )
            await asyncio.Event().wait()
    except FetchFailed as failure:
        journal.emit(CandidateRefused(url=plan.base, code="unreachable", reason=str(failure)))
    except Refusal as refusal:
        journal.emit(CandidateRefused(url=plan.base, code=refusal.code, reason=str(refusal)))
    except (ArtifactUnavailable, StoreError) as failure:
        sys.stderr.write(f"The store is not complete: {failure}\n")
    else:
        return 0
    finally:
        journal.flush()
    return FAILED


def _tracker(
    plan: _Plan, worker: NetworkWorker, clock: Clock, emit: Callable[[Event], None]
) -> TrackerClient | None:
    if plan.request.serve is None:
        return None
    return TrackerClient(
        worker.peer_channel(), clock=clock, reach=plan.policy.network.reach, emit=emit
    )


def _document_reader(
    plan: _Plan, fetcher: Fetcher, clock: Clock, emit: Callable[[Event], None]
) -> DocumentReader:
    policy = plan.policy
    return DocumentReader(
        read=single_request(fetcher, policy.network, emit),
        clock=clock,
        attempts=policy.limits.attempts,
        emit=emit,
    )


async def _verified_manifest(plan: _Plan, reader: DocumentReader, store: OpenStore) -> Manifest:
    """Return the manifest, verified as a boot does; keep the root and the rollback floor."""
    policy, emit = plan.policy, reader.emit
    memory = await asyncio.to_thread(load_trust_state, store, Chain(policy.trust))
    for doubt in memory.doubts:
        emit(StateDoubted(code=doubt.code, reason=str(doubt)))
    updater = Updater(memory.chain, memory.seen)

    async def keep(write: Callable[[StateFiles], None]) -> None:
        # A store that cannot keep the floor fails the command: the next run would accept less.
        await asyncio.to_thread(write, store.state_files)

    session = UpdateSession(
        updater=updater,
        requirements=requirements_of(policy, plan.arch),
        manifest_url=below(plan.base, manifest_path(policy.channel, plan.arch)),
        base=plan.base,
        read=reader.document,
        keep=keep,
        emit=emit,
    )
    now = memory.seen.no_earlier(plan.now)
    verified = await updater.update(session, session.requirements, now)
    found = verified.manifest
    emit(
        ManifestVerified(
            version=str(found.version),
            channel=found.channel,
            arch=found.arch,
            keys=verified.signers,
            url=session.manifest_url,
        )
    )
    return found
