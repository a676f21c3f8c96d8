"""Verify: follow newer roots; believe a manifest if a threshold of trusted keys signed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.machine import deferral
from phase_boot.machine.boot import Boot, known
from phase_boot.machine.deferral import MAX_DEFERRED, PATIENCE_SECONDS, patience
from phase_boot.machine.errors import NotConfigured
from phase_boot.machine.events import (
    CandidateFound,
    CandidateRefused,
    ManifestVerified,
    RootFollowed,
    StateNotKept,
)
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.machine.recall import keep_root, keep_seen
from phase_boot.machine.redirect_events import DocumentRedirected
from phase_boot.machine.retry_events import CandidateDeferred
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from phase_boot.ports.finder import Candidate, server_of
from phase_boot.ports.network import Link
from phase_boot.ports.notebook import Notebook
from phase_boot.store.errors import StoreError
from phase_boot.store.layout import root_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.refusals import Expired, Refusal
from phase_boot.trust.strict_json import MAX_BYTES
from phase_boot.trust.verify import BootRequirements, SignedManifest, Verified, authenticate
from phase_boot.trust.verify import verify as verify_manifest
from phase_boot.url import below
from states.discover import others

LAN: Final = "lan"
MAX_TALKS: Final = 32
"""Candidates that are asked at the same time."""


async def verify(world: World, boot: Boot) -> Step:
    """Leads to: fetch (verified), discover (refused), shell (give_up)."""
    talks = _Talks(world, boot)
    try:
        answer = await talks.first_verified()
    finally:
        await talks.close()
    if answer is None:
        return Step(Trigger.REFUSED, replace(talks.boot, candidate=None))
    signed, url = answer.manifest.manifest, answer.candidate.url
    world.emit(
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
            talks.boot,
            candidate=answer.candidate,
            link=answer.link,
            manifest=answer.manifest,
            deferred=deferral.without(talks.boot.deferred, url),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """A manifest that may be booted, where it came from and the interface that leads there."""

    candidate: Candidate
    link: Link | None
    raw: bytes
    manifest: Verified


class _Talks:
    """What candidates are asked, and what was learnt of each: that stays even if it is refused.

    One candidate is asked. While it stays silent, others are looked for and asked beside it, so
    that one that never answers delays no boot.
    """

    def __init__(self, world: World, boot: Boot) -> None:
        self.world = world
        self.boot = boot
        self._writing = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_TALKS)
        self._asking: list[asyncio.Task[_Answer | None]] = []
        self._ended = asyncio.Event()

    async def first_verified(self) -> _Answer | None:
        """Return the first manifest that may be booted; None once every candidate has failed."""
        await self._ask(known(self.boot.candidate, "a candidate"), self.boot.link)
        looking = asyncio.create_task(self._ask_others(), name="other candidates")
        try:
            while self._asking:
                self._ended.clear()
                done = [task for task in self._asking if task.done()]
                self._asking = [task for task in self._asking if task not in done]
                answers = [answer for task in done if (answer := task.result()) is not None]
                answers.sort(key=lambda answer: answer.manifest.manifest.version, reverse=True)
                for answer in answers:
                    if self._still_counts(answer):
                        return answer
                if not done:
                    await self._ended.wait()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        return None

    async def close(self) -> None:
        """Leave those that have not answered."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _ask(self, candidate: Candidate, link: Link | None) -> None:
        await self._room.acquire()
        task = asyncio.create_task(self._answer_of(candidate, link), name=candidate.url)
        task.add_done_callback(self._end)
        self._asking.append(task)

    def _end(self, _task: asyncio.Task[_Answer | None]) -> None:
        self._room.release()
        self._ended.set()

    async def _ask_others(self) -> None:
        """Ask further candidates too, once the first has been silent for a moment."""
        await asyncio.sleep(HEDGE_SECONDS)
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            aclosing(others(self.world, self.boot)) as found,
        ):
            async for candidate, link in found:
                self.world.emit(CandidateFound(url=candidate.url, origin=candidate.origin))
                await self._ask(candidate, link)

    async def _answer_of(self, candidate: Candidate, link: Link | None) -> _Answer | None:
        """Return what a candidate offers; None if it was refused or deferred."""
        began = self.world.clock.monotonic()
        entry = deferral.of(self.boot.deferred, candidate.url)
        try:
            async with asyncio.timeout(patience(entry, began)):
                await self._follow_roots(candidate)
                raw = candidate.document or await self._read(candidate.url)
                return _Answer(candidate, link, raw, await self._verified(raw))
        except Intercepted as failure:
            self._intercepted(candidate, str(failure))
            self._refuse(candidate, "portal", str(failure))
        except FetchFailed as failure:
            self._leave(candidate, failure, began)
        except TimeoutError:
            reason = f"it took more than {PATIENCE_SECONDS:g} seconds"
            self._refuse(candidate, "unreachable", reason, again=True)
        except Refusal as refusal:
            self._refuse(candidate, refusal.code, str(refusal), ban=refusal.ban_source)
        return None

    async def _follow_roots(self, candidate: Candidate) -> None:
        """Ask for the next root until there is none.

        Raises:
            FetchFailed: the source may have one and does not hand it out now.
            Refusal: what it has does not follow from the newest root.
        """
        policy, facts = known(self.boot.policy, "a policy"), known(self.boot.facts, "the facts")
        base = candidate.base(facts.arch, policy.channel)
        while base is not None and (version := self._chain.next_version) is not None:
            url = below(base, root_path(version))
            try:
                raw = await self._read(url)
            except FetchFailed as failure:
                if failure.retryable:
                    raise
                return
            if version != self._chain.next_version:
                # Another candidate had it first.
                continue
            chain = self._chain.extended(raw)
            self.boot = replace(self.boot, chain=chain, seen=self.boot.seen.under(chain))
            floor = self.boot.seen.floor(policy.channel, facts.arch)
            seen = str(floor) if floor else None
            self.world.emit(RootFollowed(version=version, url=url, seen=seen))
            await self._keep(partial(keep_root, version=version, raw=raw))

    async def _verified(self, raw: bytes) -> Verified:
        """Return the manifest if it may be booted, and remember that it was published.

        Raises:
            Refusal: it is not believed, or not for this machine, now.
        """
        try:
            verified = self._judged(raw)
        except Expired:
            # It was published all the same, so nothing below it is current any more.
            trust = self._chain.trust(
                known(self.boot.policy, "a policy").channel, known(self.boot.now, "the time")
            )
            await self._remember(authenticate(raw, trust))
            raise
        await self._remember(verified.found)
        return verified

    def _judged(self, raw: bytes) -> Verified:
        """Return the manifest if it may be booted by what is known now; raise Refusal if not."""
        boot = self.boot
        policy, facts = known(boot.policy, "a policy"), known(boot.facts, "the machine's facts")
        now = known(boot.now, "the time")
        requirements = BootRequirements(
            arch=facts.arch,
            channel=policy.channel,
            min_version=policy.min_version,
            floor=boot.seen.floor(policy.channel, facts.arch),
        )
        trust = self._chain.trust(policy.channel, now)
        return verify_manifest(raw, trust=trust, requirements=requirements, now=now)

    def _still_counts(self, answer: _Answer) -> bool:
        """Judge an answer by what other candidates have taught meanwhile."""
        try:
            self._judged(answer.raw)
        except Refusal as refusal:
            self._refuse(answer.candidate, refusal.code, str(refusal), ban=refusal.ban_source)
            return False
        return True

    @property
    def _chain(self) -> Chain:
        return known(self.boot.chain, "a root of trust")

    async def _read(self, url: str) -> bytes:
        network = known(self.boot.policy, "a policy").network
        return await self.world.fetcher.read(
            url,
            limit=MAX_BYTES,
            reach=network.reach,
            redirects=network.redirects,
            on_redirect=lambda target: self.world.emit(DocumentRedirected(url=url, target=target)),
        )

    async def _remember(self, found: SignedManifest) -> None:
        self.boot = replace(self.boot, seen=self.boot.seen.including(found))
        await self._keep(self._write_seen)

    def _write_seen(self, notebook: Notebook) -> None:
        boot = self.boot
        keep_seen(notebook, boot.seen, known(boot.chain, "a root of trust"))

    async def _keep(self, write: Callable[[Notebook], None]) -> None:
        """Write something down if the disk lets us: a boot does not depend on it."""
        notebook = known(self.boot.shelf, "a store").notebook
        try:
            # One at a time: what is known last is written last.
            async with self._writing:
                await asyncio.to_thread(write, notebook)
        except StoreError as failure:
            self.world.emit(StateNotKept(reason=str(failure)))

    def _intercepted(self, candidate: Candidate, how: str) -> None:
        """Note that the network answered; on this wire there is nobody between a peer and us."""
        if candidate.origin != LAN:
            self.boot = replace(self.boot, portal=how)

    def _leave(self, candidate: Candidate, failure: FetchFailed, began: float) -> None:
        """Leave a source that failed: for a while if that may pass, else for good."""
        if not failure.retryable:
            self._refuse(candidate, "unreachable", str(failure))
            return
        now = self.world.clock.monotonic()
        entry = deferral.begun(self.boot.deferred, candidate, began)
        entry = entry.after(failure, now=now, chance=self.world.chance())
        waiting = deferral.without(self.boot.deferred, candidate.url)
        has_room = len(waiting) < MAX_DEFERRED
        if has_room:
            self.boot = replace(self.boot, deferred=(*waiting, entry))
        if not has_room or not entry.patient:
            self._refuse(candidate, "unreachable", str(failure), again=True)
            return
        self.world.emit(
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
        """Pass a candidate over: until the network grows where ``again`` is set, else for good."""
        boot, url = self.boot, candidate.url
        self.world.emit(CandidateRefused(url=url, code=code, reason=reason))
        self.boot = replace(
            boot,
            shunned=boot.shunned | {url},
            unreachable=boot.unreachable | ({url} if again else set()),
            banned_origins=boot.banned_origins | ({server_of(url)} if ban else set()),
            refusals=(*boot.refusals, f"{url}: {reason}"),
        )


HANDLER = Handler(
    state=State.VERIFY,
    run=verify,
    leads=frozenset({Trigger.VERIFIED, Trigger.REFUSED}),
    raises=(NotConfigured,),
    budget=180,
)
