"""Boots the installed handlers among fakes with each single fault, and checks every invariant.

Run `python drill.py` where this package and phase-boot are installed. Its exit status is 0 if every
invariant held.
"""

from __future__ import annotations

import sys

from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.injection import Plan
from phase_boot.drill.invariants import verdicts
from phase_boot.drill.matrix import matrix
from phase_boot.drill.run import Run, run_scenario
from phase_boot.drill.scenario import OWN_HANDLERS, Scenario, lan_scenario


def pinned() -> Scenario:
    """The policy names two servers; a provider on the LAN, which announces itself, is not asked."""
    found = lan_scenario(first=good_server(), second=good_server(), neighbour=good_server())
    found.platform.table["discovery"]["urls"] = [
        found.fetcher.manifest_url(name) for name in ("first", "second")
    ]
    return found


def faults_held(run: Run) -> bool:
    """Print each invariant that ``run`` broke; return whether there was none."""
    broken = [verdict for verdict in verdicts(run) if not verdict.holds]
    for verdict in broken:
        print(f"BROKEN by {run.plan.faults}: {verdict.statement}: {verdict.violation}")
    return not broken


def main() -> int:
    """Drill the plain boot, then each single fault of it."""
    sources = sorted(handler.run.__module__ for handler in OWN_HANDLERS)
    print("handlers from:", ", ".join(sources))
    plain = run_scenario(pinned(), Plan())
    print("candidates:", ", ".join(event["url"] for event in plain.scenario.of("candidate.found")))
    print("end:", plain.end)
    held = [faults_held(plain)]
    held += [
        faults_held(run_scenario(pinned(), Plan((fault,))))
        for _, fault in matrix({"pinned": pinned})
    ]
    print(f"{sum(held)} of {len(held)} boots held every invariant")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
