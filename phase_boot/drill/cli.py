"""`phase-boot drill`: boot once with faults, print the console's lines, check invariants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from phase_boot.console.display import FILE, Display
from phase_boot.console.lines import Console, folding
from phase_boot.drill.injection import Fault, FaultKind, InjectionPoint
from phase_boot.drill.invariants import verdicts
from phase_boot.drill.matrix import random_plan
from phase_boot.drill.run import Run, run_scenario
from phase_boot.drill.scenarios import MODES, SCENARIOS

MARK: Final = "      !!    "
EFFECTS: Final[Mapping[FaultKind, str]] = MappingProxyType(
    {
        FaultKind.REFUSE: "refuses",
        FaultKind.HANG: "hangs",
        FaultKind.TEAR: "breaks off half-way",
        FaultKind.CORRUPT: "is corrupt",
        FaultKind.LIE: "lies",
        FaultKind.NO_SPACE: "has no space left",
        FaultKind.IO_ERROR: "has an I/O error",
        FaultKind.CLOCK_AHEAD: "and the clock jumps ahead by 40 years",
        FaultKind.CLOCK_BACK: "and the clock jumps back by 40 years",
        FaultKind.CANCEL: "and the run is cancelled",
    }
)


def run_drill(
    seed: int,
    mode: str | None,
    faults: int,
    write: Callable[[str], object],
    display: Display = FILE,
) -> int:
    """Run the drill of ``seed``, print it for ``display``, and return the exit status."""
    write = folding(write, display)
    name, plan = random_plan(str(seed), faults, MODES[mode] if mode else tuple(SCENARIOS))
    plan.on_fault = lambda fault, point: write(_line(fault, point))
    scenario = SCENARIOS[name]
    write(f"Drill {seed}: {(scenario.__doc__ or name).strip()}\n")
    write("Simulated: no network, no disk, and a clock that jumps to the next event.\n\n")
    run = run_scenario(scenario(), plan, Console(write))
    write(f"\n{_end(run)}\n")
    return print_verdicts(run, write)


def print_verdicts(run: Run, write: Callable[[str], object]) -> int:
    """Print whether each invariant held, and return the exit status."""
    checked = verdicts(run)
    for verdict in checked:
        write(f"  {'ok    ' if verdict.holds else 'BROKEN'}  {verdict.statement}\n")
        if verdict.violation is not None:
            write(f"          {verdict.violation}\n")
    return 0 if all(verdict.holds for verdict in checked) else 1


def _line(fault: Fault, point: InjectionPoint) -> str:
    lasting = ", for good" if fault.lasting else ""
    return f"{MARK}{point.member} {EFFECTS[fault.kind]}{lasting}\n"


def _end(run: Run) -> str:
    seconds = run.visits[-1].ended if run.visits else 0.0
    injected = len(run.plan.injected)
    after = f"after {seconds:.0f} seconds and {injected} fault{'' if injected == 1 else 's'}"
    if run.stuck is not None:
        return f"It is still waiting in {run.stuck} {after}."
    if run.end is None:
        return f"It was cancelled {after}."
    return f"It ended in {run.end} {after}."
