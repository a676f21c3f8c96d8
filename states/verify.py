"""Verify: updates the root, and accepts a manifest that a threshold of trusted keys has signed.

Roots and versions that a candidate proves are kept, even if its manifest is refused. So no later
candidate can offer an older version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from phase_boot.discovery.block_peers import read_manifest
from phase_boot.discovery.candidates import other_candidates
from phase_boot.download import DownloadContext
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.journal.content_events import ManifestVerified, RecordAccepted, StateNotKept
from phase_boot.journal.network_events import CandidateDeferred, CandidateFound, CandidateRefused
from phase_boot.machine import deferral
from phase_boot.machine.boot import BootContext, Refused, require
from phase_boot.machine.deferral import MAX_DEFERRED, PATIENCE_SECONDS, patience
from phase_boot.machine.dht_peers import keep_dht_peers
from phase_boot.machine.errors import NotConfigured
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.trust_state import (
    Read,
    UpdateSession,
    keep_record,
    requirements_of,
    single_request,
)
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from phase_boot.ports.finder import LAN, Candidate, block_in, server_of
from phase_boot.ports.network import Link
from phase_boot.ports.state_files import StateFiles
from phase_boot.store.errors import StoreError
from phase_boot.trust.client import Updater
from phase_boot.trust.ipns_record import newest_records
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.verify import BootRequirements, Verified

MAX_SESSIONS: Final = 32
"""Candidates that are queried at the same time."""


async def verify(ports: Ports, boot: BootContext) -> Step:
    """Leads to: fetch (verified), discover (refused), shell (give_up)."""
    sessions = _CandidateSessions(ports, boot)
    try:
        answer = await sessions.first_verified()
    finally:
        await sessions.close()
    updater = sessions.updater
    updated = replace(sessions.boot, chain=updater.chain, seen=updater.seen)
    if answer is None:
        return Step(Trigger.REFUSED, replace(updated, candidate=None))
    signed, url = answer.manifest.manifest, answer.candidate.url
    ports.emit(
        ManifestVerified(
            version=str(signed.version),
            channel=signed.channel,
            arch=signed.arch,
            keys=answer.manifest.signers,
            url=url,
        )
    )
    return Step(
        Trigger.VERIFIED,
        replace(
            updated,
            candidate=answer.candidate,
            link=answer.link,
            manifest=answer.manifest,
            deferred=deferral.without(updated.deferred, url),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """An accepted manifest, its candidate, and the interface over which that is reached."""

    candidate: Candidate
    link: Link | None
    manifest: Verified


class _CandidateSessions:
    """The queries of candidates, and the facts of the boot as updated by each.

    One candidate is queried first. While it does not respond, others are searched and queried in
    parallel, so that a silent one delays no boot (hedging).
    """

    def __init__(self, ports: Ports, boot: BootContext) -> None:
        self.ports = ports
        self.boot = boot
        self.updater = Updater(require(boot.chain, "a root of trust"), boot.seen)
        self._writing = asyncio.Lock()
        self._free_sessions = asyncio.Semaphore(MAX_SESSIONS)
        self._tasks: list[asyncio.Task[_Answer | None]] = []
        self._task_ended = asyncio.Event()

    async def first_verified(self) -> _Answer | None:
        """Return the first accepted manifest; None once every candidate has failed."""
        await self._start(require(self.boot.candidate, "a candidate"), self.boot.link)
        looking = asyncio.create_task(self._start_others(), name="other candidates")
        try:
            while self._tasks:
                self._task_ended.clear()
                done = [task for task in self._tasks if task.done()]
                self._tasks = [task for task in self._tasks if task not in done]
                answers = [answer for task in done if (answer := task.result()) is not None]
                answers.sort(key=lambda answer: answer.manifest.manifest.version, reverse=True)
                for answer in answers:
                    if self._recheck(answer):
                        return answer
                if not done:
                    await self._task_ended.wait()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        return None

    async def close(self) -> None:
        """Cancel the queries that are still running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self, candidate: Candidate, link: Link | None) -> None:
        await self._free_sessions.acquire()
        task = asyncio.create_task(self._query(candidate, link), name=candidate.url)
        task.add_done_callback(self._on_task_end)
        self._tasks.append(task)

    def _on_task_end(self, _task: asyncio.Task[_Answer | None]) -> None:
        self._free_sessions.release()
        self._task_ended.set()

    async def _start_others(self) -> None:
        """Query further candidates, once the first did not respond within `HEDGE_SECONDS`."""
        await asyncio.sleep(HEDGE_SECONDS)
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            aclosing(other_candidates(self.ports, self.boot)) as found,
        ):
            async for candidate, link in found:
                self.ports.emit(CandidateFound(url=candidate.url, finder=candidate.finder))
                await self._start(candidate, link)

    async def _query(self, candidate: Candidate, link: Link | None) -> _Answer | None:
        """Return the candidate's manifest if it is accepted; None if it was refused or deferred."""
        began = self.ports.clock.monotonic()
        entry = deferral.find(self.boot.deferred, candidate.url)
        try:
            async with asyncio.timeout(patience(entry, began)):
                await self._keep_record(candidate)
                session = self._session(candidate)
                verified = await self.updater.update(session, session.requirements, self._now)
                return _Answer(candidate, link, verified)
        except Intercepted as failure:
            self._note_interception(candidate, str(failure))
            self._refuse(candidate, "portal", str(failure))
        except FetchFailed as failure:
            self._fail(candidate, failure, began)
        except TimeoutError:
            reason = f"it took more than {PATIENCE_SECONDS:g} seconds"
            self._refuse(candidate, "unreachable", reason, again=True)
        except Refusal as refusal:
            self._refuse(candidate, refusal.code, str(refusal), ban=refusal.ban_source)
        return None

    async def _keep_record(self, candidate: Candidate) -> None:
        """Keep a record that is newer than the newest one, so that no older one counts again."""
        record = candidate.record
        if record is None or record in (newest := self.boot.records):
            return
        records = newest_records(newest, (record,))
        if records == newest:
            return
        self.boot = replace(self.boot, records=records)
        self.ports.emit(
            RecordAccepted(
                name=str(record.name),
                sequence=record.sequence,
                validity=record.validity.isoformat(timespec="seconds"),
                url=candidate.url,
            )
        )
        await self._write_state(partial(keep_record, record=record))
        # With each new record, so at most every few hours: a stick wears out.
        if candidate.dht_peers:
            await self._write_state(partial(keep_dht_peers, peers=candidate.dht_peers))

    def _recheck(self, answer: _Answer) -> bool:
        """Verify an answer again, by roots and versions that other candidates proved meanwhile."""
        try:
            self.updater.verify(answer.manifest.raw, self._requirements, self._now)
        except Refusal as refusal:
            self._refuse(answer.candidate, refusal.code, str(refusal), ban=refusal.ban_source)
            return False
        return True

    def _read(self, candidate: Candidate) -> Read:
        """Return how the candidate's documents are requested: from its server, or from peers."""
        if block_in(candidate.url) is None:
            network = require(self.boot.policy, "a policy").network
            return single_request(self.ports.fetcher, network, self.ports.emit)

        async def read(_url: str) -> bytes:
            context = self._download_context()
            arch = self._requirements.arch
            return await read_manifest(context, self.ports.blocks, candidate, arch)

        return read

    def _download_context(self) -> DownloadContext:
        return DownloadContext(
            clock=self.ports.clock,
            fetcher=self.ports.fetcher,
            store=require(self.boot.store, "a store").cas,
            policy=require(self.boot.policy, "a policy"),
            banned=set(),
            emit=self.ports.emit,
            chance=self.ports.chance,
        )

    def _session(self, candidate: Candidate) -> UpdateSession:
        requirements = self._requirements
        return UpdateSession(
            updater=self.updater,
            requirements=requirements,
            manifest_url=candidate.url,
            document=candidate.document,
            base=candidate.base(requirements.arch, requirements.channel),
            read=self._read(candidate),
            keep=self._write_state,
            emit=self.ports.emit,
        )

    @property
    def _requirements(self) -> BootRequirements:
        facts = require(self.boot.facts, "the machine's facts")
        return requirements_of(require(self.boot.policy, "a policy"), facts.arch)

    @property
    def _now(self) -> datetime:
        return require(self.boot.now, "the time")

    async def _write_state(self, write: Callable[[StateFiles], None]) -> None:
        """Write trust state to the store; a failure is only reported."""
        state_files = require(self.boot.store, "a store").state_files
        try:
            # One at a time, so that the latest state is written last.
            async with self._writing:
                await asyncio.to_thread(write, state_files)
        except StoreError as failure:
            self.ports.emit(StateNotKept(reason=str(failure)))

    def _note_interception(self, candidate: Candidate, how: str) -> None:
        """Record a captive portal. On the LAN there is no router between, and so no portal."""
        if candidate.finder != LAN:
            self.boot = replace(self.boot, portal=how)

    def _fail(self, candidate: Candidate, failure: FetchFailed, began: float) -> None:
        """Defer a candidate after a temporary failure, else refuse it."""
        if not failure.retryable:
            self._refuse(candidate, "unreachable", str(failure))
            return
        now = self.ports.clock.monotonic()
        entry = deferral.started(self.boot.deferred, candidate, began)
        entry = entry.after(failure, now=now, chance=self.ports.chance())
        waiting = deferral.without(self.boot.deferred, candidate.url)
        has_room = len(waiting) < MAX_DEFERRED
        if has_room:
            self.boot = replace(self.boot, deferred=(*waiting, entry))
        if not has_room or not entry.patient:
            self._refuse(candidate, "unreachable", str(failure), again=True)
            return
        self.ports.emit(
            CandidateDeferred(
                url=candidate.url,
                reason=str(failure),
                failures=entry.failures,
                seconds=entry.due - now,
            )
        )

    def _refuse(
        self,
        candidate: Candidate,
        code: str,
        reason: str,
        *,
        ban: bool = False,
        again: bool = False,
    ) -> None:
        """Refuse a candidate; with ``again`` it may be tried again when the network grows."""
        boot, url = self.boot, candidate.url
        self.ports.emit(CandidateRefused(url=url, code=code, reason=reason))
        self.boot = replace(
            boot,
            rejected_urls=boot.rejected_urls | {url},
            unreachable=boot.unreachable | ({url} if again else set()),
            banned_origins=boot.banned_origins | ({server_of(url)} if ban else set()),
            refusals=(*boot.refusals, Refused(url, reason)),
        )


HANDLER = Handler(
    state=State.VERIFY,
    run=verify,
    leads=frozenset({Trigger.VERIFIED, Trigger.REFUSED}),
    raises=(NotConfigured,),
    budget=180,
)
