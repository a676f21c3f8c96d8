"""Verify: believe a manifest only if a threshold of trusted keys signed it."""

from __future__ import annotations

from dataclasses import replace

from phase_boot.machine.boot import Boot, known
from phase_boot.machine.errors import NotConfigured
from phase_boot.machine.events import CandidateRefused, ManifestVerified
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.trust.document import MAX_BYTES
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.verify import Wanted
from phase_boot.trust.verify import verify as verify_manifest


async def verify(world: World, boot: Boot) -> Step:
    """Leads to: fetch (verified), discover (refused), shell (give_up)."""
    policy, facts = known(boot.policy, "a policy"), known(boot.facts, "the machine's facts")
    now = known(boot.now, "the time")
    url = known(boot.candidate, "a candidate").url
    wanted = Wanted(arch=facts.arch, channel=policy.channel, min_version=policy.min_version)
    try:
        raw = await world.fetcher.read(url, limit=MAX_BYTES)
        manifest = verify_manifest(raw, trust=policy.trust, wanted=wanted, now=now)
    except FetchFailed as failure:
        return _refused(world, boot, url, "unreachable", str(failure))
    except Refusal as refusal:
        return _refused(world, boot, url, refusal.code, str(refusal))
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
    return Step(Trigger.VERIFIED, replace(boot, manifest=manifest))


def _refused(world: World, boot: Boot, url: str, code: str, reason: str) -> Step:
    world.emit(CandidateRefused(url=url, code=code, reason=reason))
    return Step(
        Trigger.REFUSED,
        replace(
            boot,
            candidate=None,
            shunned=boot.shunned | {url},
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
