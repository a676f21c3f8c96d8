"""Init: reads the facts of the machine, the mode and the policy, and determines the time."""

from __future__ import annotations

from dataclasses import replace

from phase_boot.journal.run_events import RunStarted, Stage
from phase_boot.machine import wall_clock
from phase_boot.machine.boot import BootContext
from phase_boot.machine.errors import AskFirst, NotConfigured
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step


async def init(ports: Ports, boot: BootContext) -> Step:
    """Leads to: net_up (configured), shell (give_up)."""
    if boot.failure is not None:
        # The service manager has started the daemon with `--ask` after failures of earlier runs.
        raise AskFirst(boot.failure.sentence)
    facts = await ports.platform.facts()
    wall = ports.clock.wall()
    for name, reached in facts.stages:
        ports.emit(Stage(name=name, reached=reached))
    ports.emit(
        RunStarted(
            arch=facts.arch,
            mode=facts.mode,
            wall=wall.isoformat(timespec="seconds"),
            build=facts.built.isoformat(timespec="seconds"),
        )
    )
    policy = await ports.platform.policy(facts.mode)
    now = boot.now
    if now is None:
        now = max(wall, facts.built)
        boot = replace(boot, now=now, reckoned=ports.clock.monotonic())
    wall_clock.advance(ports, now)
    return Step(Trigger.CONFIGURED, replace(boot, facts=facts, policy=policy))


HANDLER = Handler(
    state=State.INIT,
    run=init,
    leads=frozenset({Trigger.CONFIGURED}),
    raises=(AskFirst, NotConfigured),
    budget=30,
)
