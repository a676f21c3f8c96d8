"""Every fault at every place, generated: from the ports' members and from where boots ask them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Final

from phase_boot.drill.faulty import changes_nothing
from phase_boot.drill.injection import Fault, FaultKind, InjectionPoint, Plan
from phase_boot.drill.members import Kind, Member, members_of, ports_within
from phase_boot.drill.run import perform
from phase_boot.drill.scenario import Scenario
from phase_boot.drill.scenarios import SCENARIOS
from phase_boot.machine.handler import World
from phase_boot.machine.journal import Journal

BELIEVED: Final = frozenset({"Platform.facts", "Platform.policy"})
"""What the image and its command line say is what all else is measured by: the root hash of the
seed and Secure Boot vouch for it, the machine cannot. Here nothing lies or is corrupt."""
WAITING: Final = frozenset({Kind.COROUTINE, Kind.STREAM})
LASTING: Final = 0.3
"""How many of a walk's faults never go away again."""
MOMENTARY: Final = frozenset({FaultKind.CANCEL, FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BACK})
"""What is done once it is done."""
MIDWAY: Final = frozenset(
    {FaultKind.HANG, FaultKind.TEAR, FaultKind.NO_SPACE, FaultKind.IO_ERROR, FaultKind.CANCEL}
)
"""What strikes a stream before its first piece, and in a case of its own after it."""


@cache
def all_members() -> dict[str, Member]:
    """Return everything that a boot can ask of the world, by name."""
    ports = ports_within(World, Journal)
    return {str(member): member for port in ports for member in members_of(port)}


@dataclass(frozen=True, slots=True)
class Asked:
    """A boot asks here: so often, and whether from a thread."""

    point: InjectionPoint
    calls: int
    threaded: bool


def asked(scene: Callable[[], Scenario]) -> list[Asked]:
    """Return where ``scene`` asks its ports when nothing fails."""
    plan = Plan()
    perform(scene(), plan)
    return [
        Asked(point, calls, point in plan.threaded) for point, calls in sorted(plan.asked.items())
    ]


def matrix() -> Iterator[tuple[str, Fault]]:
    """Yield every single fault at every place of every scene, with the scene's name.

    Each strikes once, at the first call. Where a place is seen for the first time it strikes
    in other cases at a later call, and from the first one on for good.
    """
    members, known = all_members(), set[InjectionPoint]()
    for name, scene in SCENARIOS.items():
        for each in asked(scene):
            for fault in _kinds(members[each.point.member], each):
                yield name, fault
                if each.point in known or fault.kind in MOMENTARY:
                    continue
                yield name, replace(fault, lasting=True)
                if each.calls > 1:
                    yield name, replace(fault, first=1 + each.calls // 2)
            known.add(each.point)


def _kinds(member: Member, each: Asked) -> Iterator[Fault]:
    point = each.point
    for number, _ in enumerate(member.refusals()):
        yield Fault(FaultKind.REFUSE, point, which=number)
    for kind in FaultKind:
        if kind is FaultKind.REFUSE:
            continue
        if kind is FaultKind.HANG and not (each.threaded or member.kind in WAITING):
            continue
        if kind in {FaultKind.CORRUPT, FaultKind.LIE} and str(member) in BELIEVED:
            continue
        if kind is FaultKind.CORRUPT and changes_nothing(member):
            continue
        yield Fault(kind, point)
        if member.kind is Kind.STREAM and kind in MIDWAY:
            yield Fault(kind, point, which=1)


def walk(seed: str, count: int, among: Sequence[str] = tuple(SCENARIOS)) -> tuple[str, Plan]:
    """Return a scene and a plan of ``count`` faults, drawn by ``seed`` and always the same."""
    chance = Random(seed)
    name = chance.choice(sorted(among))
    members, places = all_members(), asked(SCENARIOS[name])
    faults = []
    for _ in range(count):
        each = chance.choice(places)
        fault = chance.choice(list(_kinds(members[each.point.member], each)))
        first = chance.randint(1, max(1, each.calls))
        lasting = fault.kind not in MOMENTARY and chance.random() < LASTING
        faults.append(replace(fault, first=first, lasting=lasting))
    return name, Plan(tuple(faults), seed=seed)
