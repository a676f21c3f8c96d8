"""Run one boot with faults, and observe it from outside.

The observer wraps the handlers and counts tasks, streams and descriptors itself, so that the
invariants need not trust the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from phase_boot.drill import virtual_time
from phase_boot.drill.fakes import FakeCache, MemorySink
from phase_boot.drill.faulty import Faulty, faulty_ports
from phase_boot.drill.injection import Plan
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.scenario import Scenario
from phase_boot.journal.journal import Journal, Sink
from phase_boot.machine.boot import BootContext
from phase_boot.machine.driver import drive
from phase_boot.machine.graph import State
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.registry import total
from phase_boot.ports.dht import Dht
from phase_boot.store.disk import Disk, Folder

MAX_SECONDS: Final = 30 * 86_400.0
"""Virtual seconds after which a run counts as stuck."""
MAX_VISITS: Final = 24
"""Visits of the Shell after which a run that retries by itself is ended."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One run of a handler, in seconds of the loop's time."""

    state: State
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.ended - self.began


@dataclass
class Run:
    """The observed course of a boot, and what it left open or running."""

    scenario: Scenario
    plan: Plan
    before: Mapping[str, object]
    """Content of Cache and its state files before the boot."""
    disks: tuple[MemoryDisk, ...]
    end: State | None = None
    boot: BootContext | None = None
    error: BaseException | None = None
    stuck: str | None = None
    """The state in which the run was stuck."""
    still_retrying: bool = False
    """Whether it was still retrying by itself when it was ended."""
    visits: list[Visit] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    """Names of tasks that were left."""
    descriptors: set[int] = field(default_factory=set)
    """Descriptors that were left open."""


def run_scenario(scenario: Scenario, plan: Plan, *sinks: Sink) -> Run:
    """Boot ``scenario`` with the faults of ``plan`` until it ends or is stuck.

    ``sinks`` get the journal too, and get no faults.
    """
    scenario.clock = plan.clock
    disks = tuple(d for d in (scenario.cache.cache, scenario.cache.memory) if d is not None)
    run = Run(scenario, plan, persistent_files(scenario), disks)
    before = _descriptors()
    virtual_time.run(_observe(run, sinks))
    owned = {fd for disk in disks for fd in disk.descriptors()}
    run.descriptors = _descriptors() - before - owned
    return run


def persistent_files(scenario: Scenario) -> dict[str, object]:
    """Return what stays on the stick after this boot."""
    disk = scenario.cache.cache
    assert not isinstance(disk, Faulty)
    files = {
        f"{folder}/{item.name}": disk.content(folder, item.name)
        for folder in Folder
        for item in (disk.items(folder) if disk is not None else ())
        if disk is not None
    }
    return {**files, **scenario.cache.state_files.files}


async def _observe(run: Run, sinks: Sequence[Sink]) -> None:
    task = asyncio.create_task(_drive(run, sinks), name="the boot")
    run.plan.task = task
    done, _ = await asyncio.wait({task}, timeout=MAX_SECONDS)
    if not done:
        run.stuck = run.plan.state
        task.cancel()
        await asyncio.wait({task}, timeout=MAX_SECONDS)
    if task.done() and not task.cancelled():
        run.error = task.exception()
        if run.error is None:
            run.end, run.boot = task.result()
    elif task.cancelled():
        run.error = asyncio.CancelledError()
    for _ in range(3):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    run.tasks = sorted(task.get_name() for task in left)


async def _drive(run: Run, sinks: Sequence[Sink]) -> tuple[State, BootContext]:
    scenario, plan = run.scenario, run.plan
    disks: dict[str, Any] = {
        "cache": scenario.cache.cache and Faulty(Disk, scenario.cache.cache, plan),
        "memory": Faulty(Disk, scenario.cache.memory, plan),
    }
    faulty = replace(scenario.cache, **disks)
    plain: FakeCache = scenario.cache
    scenario.cache = faulty
    # The finder keeps the port that it is made with.
    asked: Any = Faulty(Dht, scenario.dht, plan)
    scenario.asked_dht = asked
    try:
        journal = Journal(
            [scenario.journal, *sinks, Faulty(Sink, MemorySink(), plan)],
            now=plan.clock.monotonic,
            boot_id="drill",
        )
        ports: Ports = faulty_ports(scenario.ports(journal), plan)
        handlers = total(_observed(handler, run) for handler in scenario.handlers)
        return await drive(handlers, ports, BootContext())
    finally:
        plan.state = "outside"
        plain.released, plain.mounted = faulty.released, faulty.mounted
        scenario.cache = plain
        scenario.asked_dht = None


def _observed(handler: Handler, run: Run) -> Handler:
    """Return the handler, wrapped so that its runs are recorded."""

    async def observed(ports: Ports, boot: BootContext) -> Step:
        run.plan.entering(handler.state)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            return await handler.run(ports, boot)
        finally:
            run.visits.append(Visit(handler.state, began, now()))
            shells = sum(visit.state is State.SHELL for visit in run.visits)
            if handler.state is State.SHELL and shells >= MAX_VISITS:
                run.still_retrying = True
                run.plan.cancel()

    return replace(handler, run=observed)


def _descriptors() -> set[int]:
    folder = Path("/proc/self/fd")
    # The descriptor of the listing itself is closed by now.
    return {int(link.name) for link in list(folder.iterdir()) if link.is_symlink()}
