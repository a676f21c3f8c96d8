"""Run a drill and assert its invariants."""

from __future__ import annotations

from phase_boot.drill.injection import Plan
from phase_boot.drill.invariants import verdicts
from phase_boot.drill.run import Run, run_scenario
from phase_boot.drill.scenarios import SCENARIOS


def drilled(name: str, plan: Plan) -> Run:
    """Boot a scenario with the faults of a plan, and assert every invariant."""
    run = run_scenario(SCENARIOS[name](), plan)
    broken = [verdict for verdict in verdicts(run) if not verdict.holds]
    assert not broken, "\n".join(
        [
            f"{name} with {', '.join(str(fault) for fault, _ in plan.injected) or 'nothing'}:",
            *(f"- not true that {verdict.statement}: {verdict.violation}" for verdict in broken),
            *run.scenario.journal.lines,
        ]
    )
    return run
