"""Generate every fault from the members of the ports and from the calls of each scenario.

A run of each scenario without faults records its injection points. A method that is added to a port
gets its faults without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Final

from phase_boot.drill.faulty import changes_nothing
from phase_boot.drill.injection import Fault, FaultKind, InjectionPoint, Plan
from phase_boot.drill.members import Kind, Member, members_of, ports_within
from phase_boot.drill.run import run_scenario
from phase_boot.drill.scenario import Scenario
from phase_boot.drill.scenarios import SCENARIOS
from phase_boot.journal.journal import Journal
from phase_boot.machine.handler import Ports

TRUSTED_MEMBERS: Final = frozenset({"Platform.facts", "Platform.policy"})
"""Members that never lie: the image and its command line are the base of trust. The root hash of
the seed and Secure Boot protect them; the machine cannot check them."""
WAITING: Final = frozenset({Kind.COROUTINE, Kind.STREAM})
LASTING: Final = 0.3
"""Share of a random plan's faults that last."""
MOMENTARY: Final = frozenset({FaultKind.CANCEL, FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BACK})
"""Faults that cannot last."""
MIDWAY: Final = frozenset(
    {FaultKind.HANG, FaultKind.TEAR, FaultKind.NO_SPACE, FaultKind.IO_ERROR, FaultKind.CANCEL}
)
"""Faults that are injected into a stream before its first piece, and in a second case after it."""


@cache
def all_members() -> dict[str, Member]:
    """Return every member of every port that a boot can call, by name."""
    ports = ports_within(Ports, Journal)
    return {str(member): member for port in ports for member in members_of(port)}


@dataclass(frozen=True, slots=True)
class CalledPoint:
    """An injection point of a scenario: its number of calls, and whether a thread makes them."""

    point: InjectionPoint
    calls: int
    threaded: bool


def injection_points(scenario: Callable[[], Scenario]) -> list[CalledPoint]:
    """Return the injection points of ``scenario`` when nothing fails."""
    plan = Plan()
    run_scenario(scenario(), plan)
    return [
        CalledPoint(point, calls, point in plan.threaded)
        for point, calls in sorted(plan.calls.items())
    ]


def matrix(
    scenarios: Mapping[str, Callable[[], Scenario]] = SCENARIOS,
) -> Iterator[tuple[str, Fault]]:
    """Yield each single fault at each injection point of each scenario, with the scenario's name.

    Each is injected once, at the first call. At a point that no earlier scenario has, further cases
    inject it at a later call, and from the first call on.
    """
    members, known = all_members(), set[InjectionPoint]()
    for name, scenario in scenarios.items():
        for each in injection_points(scenario):
            for fault in _kinds(members[each.point.member], each):
                yield name, fault
                if each.point in known or fault.kind in MOMENTARY:
                    continue
                yield name, replace(fault, lasting=True)
                if each.calls > 1:
                    yield name, replace(fault, first=1 + each.calls // 2)
            known.add(each.point)


def _kinds(member: Member, each: CalledPoint) -> Iterator[Fault]:
    point = each.point
    for number, _ in enumerate(member.refusals()):
        yield Fault(FaultKind.REFUSE, point, which=number)
    for kind in FaultKind:
        if kind is FaultKind.REFUSE:
            continue
        if kind is FaultKind.HANG and not (each.threaded or member.kind in WAITING):
            continue
        if kind in {FaultKind.CORRUPT, FaultKind.LIE} and str(member) in TRUSTED_MEMBERS:
            continue
        if kind is FaultKind.CORRUPT and changes_nothing(member):
            continue
        yield Fault(kind, point)
        if member.kind is Kind.STREAM and kind in MIDWAY:
            yield Fault(kind, point, which=1)


def random_plan(seed: str, count: int, among: Sequence[str] = tuple(SCENARIOS)) -> tuple[str, Plan]:
    """Return a scenario and a plan of ``count`` faults; the same ``seed`` draws the same ones."""
    chance = Random(seed)
    name = chance.choice(sorted(among))
    members, points = all_members(), injection_points(SCENARIOS[name])
    faults = []
    for _ in range(count):
        each = chance.choice(points)
        fault = chance.choice(list(_kinds(members[each.point.member], each)))
        first = chance.randint(1, max(1, each.calls))
        lasting = fault.kind not in MOMENTARY and chance.random() < LASTING
        faults.append(replace(fault, first=first, lasting=lasting))
    return name, Plan(tuple(faults), seed=seed)
