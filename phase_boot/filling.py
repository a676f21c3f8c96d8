"""Filling a store ahead: the walk of a boot up to where it would start what it fetched."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.daemon import Settings, run
from phase_boot.machine.boot import Boot, known
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.store.layout import MANIFEST, manifest_path
from phase_boot.trust.arch import Arch
from policies.model import PolicyError
from policies.read import read_policy

UNUSABLE: Final = 2
"""The exit status of a question that cannot be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person wants in a store."""

    url: str
    """Of a manifest, or of the folder of a mirror."""
    store: Path
    policy: Path
    journal: Path | None = None


def fill(order: Order) -> int:
    """Fetch what the manifest promises; return the exit status: 0 when all of it is there."""
    try:
        policy = read_policy(order.policy)
        arch = Arch.parse(os.uname().machine)
    except (PolicyError, ValueError) as error:
        sys.stderr.write(f"Nothing can be fetched: {error}.\n")
        return UNUSABLE
    if not policy.cache_enabled:
        sys.stderr.write(f"A policy of mode {policy.mode} keeps nothing; take another one.\n")
        return UNUSABLE
    url = order.url.rstrip("/")
    if not url.endswith(f"/{MANIFEST}"):
        url = f"{url}/{manifest_path(policy.channel, arch)}"
    settings = Settings(
        policy=order.policy,
        url=url,
        dry_run=True,
        store=order.store,
        journal=order.journal,
        instead=(KEEPING,),
    )
    return run(settings)


async def _keep(_world: World, boot: Boot) -> Step:
    """Leads to: target (jumped)."""
    known(boot.images, "the images").close()
    return Step(Trigger.JUMPED, boot)


KEEPING: Final = Handler(state=State.KEXEC, run=_keep, leads=frozenset({Trigger.JUMPED}), budget=30)
"""Starts nothing: what was fetched stays where it is."""
