"""Filling a store ahead: believe a manifest as a boot would, and fetch what it names."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from phase_boot.adapters import sinks
from phase_boot.adapters.shelves import FolderCache
from phase_boot.adapters.system_clock import SystemClock
from phase_boot.console.display import display_of
from phase_boot.console.lines import Console
from phase_boot.content.arch import Arch
from phase_boot.download import (
    ArtifactUnavailable,
    DownloadContext,
    Sources,
    TrackerClient,
    fetch_artifact,
)
from phase_boot.download.document_reader import DocumentReader
from phase_boot.machine.events import (
    CandidateRefused,
    Event,
    ManifestVerified,
    RootFollowed,
    StateDoubted,
)
from phase_boot.machine.journal import Journal, Sink
from phase_boot.machine.recall import keep_root, keep_seen, recall
from phase_boot.machine.redirect_events import DocumentRedirected
from phase_boot.ports.cache import Shelf
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import Fetcher, FetchFailed
from phase_boot.privsep.worker import NetworkWorker
from phase_boot.store.errors import StoreError
from phase_boot.store.layout import manifest_path, read_manifest_path, root_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.document import MAX_BYTES
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.verify import Wanted, verify
from phase_boot.url import BadUrl, Url, base_url, bases, below
from policies.model import Mode, Policy, PolicyError, gateways_from
from policies.read import parse_policy, read_policy
from policies.write import chosen, with_site

FAILED: Final = 1
UNUSABLE: Final = 2
"""The exit status of a question that cannot be asked."""
MIB: Final = 1024 * 1024
NO_BOUND: Final = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person wants in a store, and whom they trust for it.

    Attributes:
        url: of a manifest, or of the folder of a mirror.
        serve: the port at which others are handed what is here, while it is fetched and after that
            until somebody ends it; 0 is any, None serves nobody.
        sources: base URLs of other mirrors, beside those that the manifest names.
        gateways: base URLs of trustless gateways of IPFS, beside those of the policy.
        policy: whom to trust; without it ``keys`` or ``root`` say so, and nothing bounds the store.
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


class _Impossible(Exception):
    """The order cannot be carried out; the text is a sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """An order that can be carried out."""

    base: str
    arch: Arch
    policy: Policy
    sources: tuple[str, ...]
    gateways: tuple[str, ...]
    bound: int
    order: Order
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


def fill(order: Order, worker: NetworkWorker) -> int:
    """Fetch what the manifest promises; return the exit status: 0 when all of it is there."""
    try:
        plan = _plan(order)
        files = sinks.asked_for(order.journal)
    except (_Impossible, sinks.JournalUnusable) as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    return asyncio.run(_fill(plan, worker, files))


def _plan(order: Order) -> _Plan:
    base, channel, arch = _place(order)
    try:
        if order.policy is not None:
            policy = read_policy(order.policy)
            bound = policy.limits.cache_mib * MIB
        else:
            whom = chosen(order.keys, order.threshold, order.root)
            text = with_site(Mode.INTERNET, whom=whom, channel=channel)
            policy, bound = parse_policy(text.encode(), read=whom.read), NO_BOUND
    except (PolicyError, ValueError) as error:
        raise _Impossible(f"Nothing is believed by this: {error}.") from error
    if not policy.cache_enabled:
        raise _Impossible(f"A policy of mode {policy.mode} keeps nothing; take another one.")
    if _usable(order.url).base(manifest_path(channel, arch)) is None:
        channel = policy.channel
    if channel != policy.channel:
        raise _Impossible(f"The policy takes the channel {policy.channel}, not {channel}.")
    return _Plan(
        base=base,
        arch=arch,
        policy=policy,
        sources=tuple(str(_usable(url)) for url in order.sources),
        gateways=_gateways(order, policy),
        bound=bound,
        order=order,
    )


def _gateways(order: Order, policy: Policy) -> tuple[str, ...]:
    try:
        return gateways_from((*order.gateways, *policy.discovery.gateways))
    except ValueError as error:
        raise _Impossible(f"Name other gateways: {error}.") from error


def _place(order: Order) -> tuple[str, str, Arch]:
    """Return the base URL, and the channel and architecture that the URL of a manifest names."""
    url = _usable(order.url)
    place = "/".join(url.path.rsplit("/", 3)[1:])
    named, base = read_manifest_path(place), url.base(place)
    if named is not None and base is not None:
        return str(base), *named
    try:
        folder = replace(url, path=url.path.rstrip("/"))
        return str(folder), order.channel, Arch.parse(os.uname().machine)
    except ValueError as error:
        raise _Impossible(f"Name a manifest: {error}.") from error


def _usable(text: str) -> Url:
    try:
        return Url.parse(text)
    except BadUrl as error:
        raise _Impossible(f"{text!r:.300} cannot be asked: {error}.") from error


async def _fill(plan: _Plan, worker: NetworkWorker, files: Sequence[Sink]) -> int:
    clock, fetcher = SystemClock(), worker.client()
    console = Console(sys.stderr.write, display_of(sys.stderr), start=clock.monotonic())
    boot_id = os.urandom(6).hex()
    journal = Journal([console, *files], now=clock.monotonic, boot_id=boot_id)
    try:
        shelf = await FolderCache(plan.order.store).open(persistent=True, bound=plan.bound)
        manifest = await _believed(plan, _reader(plan, fetcher, clock, journal.emit), shelf)
        shelf.cas.pin(*(artifact.digest for artifact in manifest.artifacts.values()))
        named = [*bases(plan.base), *plan.sources, *map(base_url, manifest.mirrors)]
        context = DownloadContext(
            clock=clock,
            fetcher=fetcher,
            store=shelf.cas,
            policy=plan.policy,
            banned=set(),
            emit=journal.emit,
        )
        sources = Sources(
            mirrors=tuple(dict.fromkeys(named)),
            gateways=plan.gateways,
            tracker=_tracker(plan, worker, clock, journal.emit),
        )
        for name, artifact in manifest.artifacts.items():
            fetched, _ = await fetch_artifact(context, sources, artifact, manifest.dags.get(name))
            fetched.close()
        if sources.tracker is not None:
            sys.stderr.write(
                f"All of it is here, and handed on at port {worker.port}: ^C ends it.\n"
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
    if plan.order.serve is None:
        return None
    return TrackerClient(
        worker.peer_channel(), clock=clock, reach=plan.policy.network.reach, emit=emit
    )


def _reader(
    plan: _Plan, fetcher: Fetcher, clock: Clock, emit: Callable[[Event], None]
) -> DocumentReader:
    network = plan.policy.network

    async def read(url: str) -> bytes:
        return await fetcher.read(
            url,
            limit=MAX_BYTES,
            reach=network.reach,
            redirects=network.redirects,
            moved=lambda target: emit(DocumentRedirected(url=url, target=target)),
        )

    return DocumentReader(read=read, clock=clock, attempts=plan.policy.limits.attempts, emit=emit)


async def _believed(plan: _Plan, reader: DocumentReader, shelf: Shelf) -> Manifest:
    """Return the manifest, judged as a boot does; what it teaches is kept beside the store."""
    policy, emit = plan.policy, reader.emit
    memory = await asyncio.to_thread(recall, shelf, Chain(policy.trust))
    for doubt in memory.doubts:
        emit(StateDoubted(code=doubt.code, reason=str(doubt)))
    chain, seen = memory.chain, memory.seen
    now = max(plan.now, seen.issued or plan.now)
    while (version := chain.next_version) is not None:
        url = below(plan.base, root_path(version))
        try:
            raw = await reader.document(url)
        except FetchFailed as failure:
            if failure.retryable:
                raise
            break
        chain = chain.extended(raw)
        seen = seen.under(chain)
        floor = seen.floor(policy.channel, plan.arch)
        emit(RootFollowed(version=version, url=url, seen=str(floor) if floor else None))
        await asyncio.to_thread(keep_root, shelf.notebook, version, raw)
    wanted = Wanted(
        arch=plan.arch,
        channel=policy.channel,
        min_version=policy.min_version,
        seen=seen.floor(policy.channel, plan.arch),
    )
    url = below(plan.base, manifest_path(policy.channel, plan.arch))
    raw = await reader.document(url)
    verified = verify(raw, trust=chain.trust(policy.channel, now), wanted=wanted, now=now)
    await asyncio.to_thread(keep_seen, shelf.notebook, seen.including(verified.found), chain)
    found = verified.manifest
    emit(
        ManifestVerified(
            version=str(found.version),
            channel=found.channel,
            arch=found.arch,
            keys=verified.signers,
            url=url,
        )
    )
    return found
