"""Finds and verifies the manifest for `phase-boot fetch`, at one URL or by an IPNS name.

It is verified as a boot verifies it: the root is updated first, then the signatures, the expiry and
the rollback floor are checked, and what was learned is kept beside the store. A store that cannot
keep it fails the command: the next run would accept less.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from phase_boot.adapters.finders.dht import DhtFinder
from phase_boot.adapters.finders.ipns_http import RecordFinder
from phase_boot.app.prefetch_plan import Plan
from phase_boot.discovery.block_peers import read_manifest
from phase_boot.discovery.record_queries import Known, record_query
from phase_boot.discovery.search import search
from phase_boot.download import DownloadContext
from phase_boot.download.document_reader import DocumentReader
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.journal.content_events import ManifestVerified, RecordAccepted, StateDoubted
from phase_boot.journal.network_events import CandidateFound, CandidateRefused
from phase_boot.machine.deferral import PATIENCE_SECONDS
from phase_boot.machine.dht_peers import keep_dht_peers, load_dht_peers
from phase_boot.machine.trust_state import (
    Read,
    TrustState,
    UpdateSession,
    keep_record,
    load_trust_state,
    requirements_of,
    single_request,
)
from phase_boot.ports.block_exchange import BlockExchange
from phase_boot.ports.dht import Dht
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import WAN, Candidate, DiscoveryQuery, block_in
from phase_boot.ports.state_files import StateFiles
from phase_boot.ports.storage import OpenStore
from phase_boot.store.errors import StoreError
from phase_boot.store.layout import manifest_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.client import Updater
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import IpnsRecord, newest_records
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.url import below


class NowhereToLook(Exception):
    """No place of a manifest is known; the text is a sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """What asks peers of libp2p: for records, and for blocks."""

    dht: Dht
    blocks: BlockExchange


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundManifest:
    """An accepted manifest, where it was, and what was learned on the way."""

    manifest: Manifest
    candidate: Candidate
    records: tuple[IpnsRecord, ...]
    chain: Chain


async def find_manifest(
    plan: Plan, context: DownloadContext, peers: Peers, store: OpenStore
) -> FoundManifest | None:
    """Return the manifest; None if every one was refused, which the journal explains.

    Raises:
        NowhereToLook: no place of a manifest is known.
        StoreError: the store cannot keep what was learned.
    """
    state = await asyncio.to_thread(load_trust_state, store, Chain(plan.policy.trust))
    for doubt in state.doubts:
        context.emit(StateDoubted(code=doubt.code, reason=str(doubt)))
    finding = _Finding(plan, context, peers, store.state_files, state)
    if isinstance(plan.place, str):
        return await finding.at_url(plan.place)
    return await finding.by_name(plan.place)


class _Finding:
    """The candidates of one run, and the trust state as each updates it."""

    def __init__(
        self,
        plan: Plan,
        context: DownloadContext,
        peers: Peers,
        state_files: StateFiles,
        state: TrustState,
    ) -> None:
        self._plan = plan
        self._policy = plan.policy
        self._context = context
        self._peers = peers
        self._state_files = state_files
        self._updater = Updater(state.chain, state.seen)
        self._records = state.records
        self._writing = asyncio.Lock()
        self._accepting = asyncio.Lock()

    async def at_url(self, base: str) -> FoundManifest | None:
        """Ask one server, as often as the policy permits."""
        return await self._verified(self._at(base, finder="url"), self._patient_read)

    async def by_name(self, name: IpnsName) -> FoundManifest | None:
        """Ask the places that the record of a name names, then its folder at the gateways."""
        searches = [self._by_record(name)] if name.keyid in self._updater.chain.announcers else []
        searches.append(self._in_folder(name))
        tried = False
        for candidates in searches:
            attempts = _Attempts(self._verify_once, self._policy.discovery.candidates)
            found = await attempts.first(candidates)
            tried = tried or attempts.made > 0
            if found is not None:
                return found
        if not tried:
            raise NowhereToLook(self._why_nowhere(name))
        return None

    def _why_nowhere(self, name: IpnsName) -> str:
        if name.keyid in self._updater.chain.announcers:
            return (
                f"No record of {name} names {self._policy.channel} for {self._plan.arch}; name "
                "another router, gateway or bootstrap peer, or give the URL of a mirror."
            )
        return (
            f"No trusted root names {name} as an announcing key, and no gateway is named that may "
            "have a folder of this name; name a gateway (--gateway), or a newer root (--root)."
        )

    async def _by_record(self, name: IpnsName) -> AsyncGenerator[Candidate, None]:
        """Yield what the records of a name lead to: of servers, and of the DHT."""
        peers = await asyncio.to_thread(load_dht_peers, self._state_files)
        now = self._updater.seen.no_earlier(self._plan.now)
        known = Known(now=now, records=self._records, dht_peers=peers, own=self._plan.own)
        records = record_query(self._policy, (name.keyid,), known, searches_lan=False)
        query = DiscoveryQuery(
            arch=self._plan.arch,
            channel=self._policy.channel,
            seconds=self._policy.discovery.window,
            urls=(),
            records=records,
        )
        finders = (RecordFinder(self._context.fetcher), DhtFinder(self._peers.dht))
        async with aclosing(search(finders, query, emit=self._context.emit)) as found:
            async for candidate in found:
                yield candidate

    async def _in_folder(self, name: IpnsName) -> AsyncGenerator[Candidate, None]:
        """Yield the manifest below the folder that a name may stand for, at each gateway."""
        announced = bool(self._updater.chain.announcers)
        for gateway in self._policy.servers(announced=announced).gateways:
            yield self._at(below(gateway, f"ipns/{name}"), finder=WAN)

    def _at(self, base: str, *, finder: str) -> Candidate:
        url = below(base, manifest_path(self._policy.channel, self._plan.arch))
        return Candidate(url=url, finder=finder)

    async def _verify_once(self, candidate: Candidate) -> FoundManifest | None:
        self._context.emit(CandidateFound(url=candidate.url, finder=candidate.finder))
        await self._keep_record(candidate)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._verified(candidate, self._read_once(candidate))
        except TimeoutError:
            reason = f"it took more than {PATIENCE_SECONDS:g} seconds"
            self._refuse(candidate, "unreachable", reason)
        return None

    async def _verified(self, candidate: Candidate, read: Read) -> FoundManifest | None:
        """Return the candidate's manifest if it is accepted; None if it was refused."""
        updater, policy = self._updater, self._policy
        session = UpdateSession(
            updater=updater,
            requirements=requirements_of(policy, self._plan.arch),
            manifest_url=candidate.url,
            base=candidate.base(self._plan.arch, policy.channel),
            read=read,
            keep=self._keep,
            emit=self._context.emit,
        )
        now = updater.seen.no_earlier(self._plan.now)
        try:
            verified = await updater.update(session, session.requirements, now)
        except FetchFailed as failure:
            self._refuse(candidate, "unreachable", str(failure))
            return None
        except Refusal as refusal:
            self._refuse(candidate, refusal.code, str(refusal))
            return None
        found = verified.manifest
        self._context.emit(
            ManifestVerified(
                version=str(found.version),
                channel=found.channel,
                arch=found.arch,
                keys=verified.signers,
                url=candidate.url,
            )
        )
        return FoundManifest(
            manifest=found, candidate=candidate, records=self._records, chain=updater.chain
        )

    def _refuse(self, candidate: Candidate, code: str, reason: str) -> None:
        self._context.emit(CandidateRefused(url=candidate.url, code=code, reason=reason))

    async def _patient_read(self, url: str) -> bytes:
        """Request a document from the only server, again after a temporary failure."""
        context = self._context
        reader = DocumentReader(
            read=single_request(context.fetcher, self._policy.network, context.emit),
            clock=context.clock,
            attempts=self._policy.limits.attempts,
            emit=context.emit,
        )
        return await reader.document(url)

    def _read_once(self, candidate: Candidate) -> Read:
        """Return how documents are requested: from a server, or from peers."""
        if block_in(candidate.url) is None:
            context = self._context
            return single_request(context.fetcher, self._policy.network, context.emit)

        async def read(_url: str) -> bytes:
            blocks, arch = self._peers.blocks, self._plan.arch
            return await read_manifest(self._context, blocks, candidate, arch)

        return read

    async def _keep_record(self, candidate: Candidate) -> None:
        """Keep a record that is newer than the newest one, so that no older one counts again."""
        record = candidate.record
        if record is None:
            return
        async with self._accepting:
            newest = newest_records(self._records, (record,))
            if newest == self._records:
                return
            await self._keep(partial(keep_record, record=record))
            self._records = newest
            self._context.emit(
                RecordAccepted(
                    name=str(record.name),
                    sequence=record.sequence,
                    validity=record.validity.isoformat(timespec="seconds"),
                    url=candidate.url,
                )
            )
            if candidate.dht_peers:
                await self._keep(partial(keep_dht_peers, peers=candidate.dht_peers))

    async def _keep(self, write: Callable[[StateFiles], None]) -> None:
        # One at a time, so that the latest state is written last.
        async with self._writing:
            await asyncio.to_thread(write, self._state_files)


class _Attempts:
    """Tries candidates: the next one begins while one is silent (hedging).

    Peers are asked where all servers have failed, and not beside a slow one.
    """

    def __init__(
        self, attempt: Callable[[Candidate], Awaitable[FoundManifest | None]], most: int
    ) -> None:
        """Take the attempt, and how many candidates are tried at most."""
        self._attempt = attempt
        self._most = most
        self._urls = set[str]()
        self._tasks: list[asyncio.Task[None]] = []
        self._found: FoundManifest | None = None
        self._failure: StoreError | None = None
        self._ended = asyncio.Event()

    @property
    def made(self) -> int:
        """The number of candidates that were tried."""
        return len(self._urls)

    async def first(self, candidates: AsyncGenerator[Candidate, None]) -> FoundManifest | None:
        """Return the first manifest that is accepted; None if none is.

        Raises:
            StoreError: the store cannot keep what was learned, which ends all attempts.
        """
        trying = asyncio.create_task(self._try_all(candidates))
        try:
            await self._ended.wait()
            if self._failure is not None:
                raise self._failure
            if self._found is None:
                await trying
            return self._found
        finally:
            for task in (trying, *self._tasks):
                task.cancel()
            await asyncio.gather(trying, *self._tasks, return_exceptions=True)

    async def _try_all(self, candidates: AsyncGenerator[Candidate, None]) -> None:
        at_peers: list[Candidate] = []
        try:
            async with aclosing(candidates):
                async for candidate in candidates:
                    if candidate.url in self._urls:
                        continue
                    self._urls.add(candidate.url)
                    if block_in(candidate.url) is None:
                        await self._begin(candidate)
                    else:
                        at_peers.append(candidate)
                    if len(self._urls) >= self._most:
                        break
            await asyncio.gather(*self._tasks)
            for candidate in at_peers:
                await self._begin(candidate)
            await asyncio.gather(*self._tasks)
        finally:
            self._ended.set()

    async def _begin(self, candidate: Candidate) -> None:
        """Try a candidate; return when it has ended or is silent."""
        task = asyncio.create_task(self._try(candidate), name=candidate.url)
        self._tasks.append(task)
        await asyncio.wait({task}, timeout=HEDGE_SECONDS)

    async def _try(self, candidate: Candidate) -> None:
        try:
            found = await self._attempt(candidate)
        except StoreError as failure:
            self._failure = failure
            self._ended.set()
            return
        if found is not None and self._found is None:
            self._found = found
            self._ended.set()
