"""Chainload: what the firmware's loader can still do when kexec is not to be had."""

from __future__ import annotations

from phase_boot.machine.boot import Boot
from phase_boot.machine.errors import CannotChainload
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World


async def chainload(_world: World, boot: Boot) -> Step:
    """Leads to: shell (give_up)."""
    why = boot.trouble.sentence if boot.trouble else "kexec failed"
    raise CannotChainload(f"{why}; and this stick holds nothing the firmware could start instead")


HANDLER = Handler(
    state=State.CHAINLOAD,
    run=chainload,
    leads=frozenset({Trigger.GIVE_UP}),
    raises=(CannotChainload,),
    budget=60,
)
