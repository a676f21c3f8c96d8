"""Verify: follow newer roots; believe a manifest if a threshold of trusted keys signed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, ParamSpec

from phase_boot.machine import deferral
from phase_boot.machine.boot import Boot, known
from phase_boot.machine.deferral import MAX_DEFERRED, PATIENCE_SECONDS, patience
from phase_boot.machine.errors import NotConfigured
from phase_boot.machine.events import (
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
from phase_boot.store.errors import StoreError
from phase_boot.store.layout import root_path
from phase_boot.trust.document import MAX_BYTES
from phase_boot.trust.refusals import Expired, Refusal
from phase_boot.trust.verify import Authentic, Verified, Wanted, authenticate
from phase_boot.trust.verify import verify as verify_manifest
from phase_boot.url import below

P = ParamSpec("P")
LAN: Final = "lan"


async def verify(world: World, boot: Boot) -> Step:
    """Leads to: fetch (verified), discover (refused), shell (give_up)."""
    candidate = known(boot.candidate, "a candidate")
    url, began = candidate.url, world.clock.monotonic()
    talk = _Talk(world, boot)
    try:
        async with asyncio.timeout(patience(deferral.of(boot.deferred, url), began)):
            await talk.follow_roots()
            manifest = await talk.manifest(candidate)
    except Intercepted as failure:
        talk.intercepted(str(failure))
        return _refused(talk, "portal", str(failure))
    except FetchFailed as failure:
        return _failed(talk, candidate, failure, began)
    except TimeoutError:
        reason = f"it took more than {PATIENCE_SECONDS:g} seconds"
        return _refused(talk, "unreachable", reason, again=True)
    except Refusal as refusal:
        return _refused(talk, refusal.code, str(refusal), lie=refusal.lie)
    signed = manifest.manifest
    world.emit(
        ManifestVerified(
            version=str(signed.version),
            channel=signed.channel,
            arch=signed.arch,
            keys=manifest.signers,
            url=url,
        )
    )
    answered = deferral.without(talk.boot.deferred, url)
    return Step(Trigger.VERIFIED, replace(talk.boot, manifest=manifest, deferred=answered))


class _Talk:
    """What one candidate is asked, and what was learnt of it: that stays even if it is refused."""

    def __init__(self, world: World, boot: Boot) -> None:
        self.world = world
        self.boot = boot

    async def follow_roots(self) -> None:
        """Ask for the next root until there is none.

        Raises:
            FetchFailed: the source may have one and does not hand it out now.
            Refusal: what it has does not follow from the newest root.
        """
        policy, facts = known(self.boot.policy, "a policy"), known(self.boot.facts, "the facts")
        base = known(self.boot.candidate, "a candidate").base(facts.arch, policy.channel)
        chain = known(self.boot.chain, "a root of trust")
        while base is not None and (version := chain.next_version) is not None:
            url = below(base, root_path(version))
            try:
                raw = await self._read(url)
            except FetchFailed as failure:
                if failure.again:
                    raise
                return
            chain = chain.extended(raw)
            self.boot = replace(self.boot, chain=chain, seen=self.boot.seen.under(chain))
            floor = self.boot.seen.floor(policy.channel, facts.arch)
            seen = str(floor) if floor else None
            self.world.emit(RootFollowed(version=version, url=url, seen=seen))
            notebook = known(self.boot.shelf, "a store").notebook
            await self._keep(keep_root, notebook, version, raw)

    async def manifest(self, candidate: Candidate) -> Verified:
        """Return the manifest that ``candidate`` offers if it may be booted.

        Raises:
            FetchFailed: it is not to be had.
            Refusal: it is not believed, or not for this machine, now.
        """
        boot = self.boot
        policy, facts = known(boot.policy, "a policy"), known(boot.facts, "the machine's facts")
        now = known(boot.now, "the time")
        trust = known(boot.chain, "a root of trust").trust(policy.channel, now)
        wanted = Wanted(
            arch=facts.arch,
            channel=policy.channel,
            min_version=policy.min_version,
            seen=boot.seen.floor(policy.channel, facts.arch),
        )
        raw = candidate.document or await self._read(candidate.url)
        try:
            verified = verify_manifest(raw, trust=trust, wanted=wanted, now=now)
        except Expired:
            # It was published all the same, so nothing below it is current any more.
            await self._remember(authenticate(raw, trust))
            raise
        await self._remember(verified.found)
        return verified

    async def _read(self, url: str) -> bytes:
        network = known(self.boot.policy, "a policy").network
        return await self.world.fetcher.read(
            url,
            limit=MAX_BYTES,
            reach=network.reach,
            redirects=network.redirects,
            moved=lambda target: self.world.emit(DocumentRedirected(url=url, target=target)),
        )

    def intercepted(self, how: str) -> None:
        """Note that the network answered; on this wire there is nobody between a peer and us."""
        candidate = known(self.boot.candidate, "a candidate")
        if candidate.origin != LAN:
            self.boot = replace(self.boot, portal=how)

    async def _remember(self, found: Authentic) -> None:
        seen = self.boot.seen.including(found)
        self.boot = replace(self.boot, seen=seen)
        notebook, chain = known(self.boot.shelf, "a store").notebook, known(self.boot.chain, "it")
        await self._keep(keep_seen, notebook, seen, chain)

    async def _keep(self, keep: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write something down if the disk lets us: a boot does not depend on it."""
        try:
            await asyncio.to_thread(keep, *args, **kwargs)
        except StoreError as failure:
            self.world.emit(StateNotKept(reason=str(failure)))


def _failed(talk: _Talk, candidate: Candidate, failure: FetchFailed, began: float) -> Step:
    """Leave a source that failed: for a while if that may pass, and meanwhile ask the others."""
    world, boot = talk.world, talk.boot
    if not failure.again:
        return _refused(talk, "unreachable", str(failure))
    now = world.clock.monotonic()
    entry = deferral.begun(boot.deferred, candidate, began)
    entry = entry.after(failure, now=now, chance=world.chance())
    others = deferral.without(boot.deferred, candidate.url)
    if len(others) < MAX_DEFERRED:
        talk.boot = replace(boot, deferred=(*others, entry))
    if talk.boot is boot or not entry.patient:
        return _refused(talk, "unreachable", str(failure), again=True)
    world.emit(
        CandidateDeferred(
            url=candidate.url,
            reason=str(failure),
            failures=entry.failures,
            seconds=entry.due - now,
        )
    )
    return Step(Trigger.REFUSED, replace(talk.boot, candidate=None))


def _refused(
    talk: _Talk, code: str, reason: str, *, lie: bool = False, again: bool = False
) -> Step:
    """Pass the candidate over: until the network grows where ``again`` is set, else for good."""
    boot = talk.boot
    url = known(boot.candidate, "a candidate").url
    talk.world.emit(CandidateRefused(url=url, code=code, reason=reason))
    return Step(
        Trigger.REFUSED,
        replace(
            boot,
            candidate=None,
            shunned=boot.shunned | {url},
            unreachable=boot.unreachable | ({url} if again else set()),
            liars=boot.liars | ({server_of(url)} if lie else set()),
            refusals=(*boot.refusals, f"{url}: {reason}"),
        ),
    )


HANDLER = Handler(
    state=State.VERIFY,
    run=verify,
    leads=frozenset({Trigger.VERIFIED, Trigger.REFUSED}),
    raises=(NotConfigured,),
    budget=180,
)
