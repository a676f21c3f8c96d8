"""Every fault at every place, generated: from the ports' members and from where boots ask them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Final

from phase_boot.drill.faulty import changes_nothing
from phase_boot.drill.members import Kind, Member, members_of, ports_within
from phase_boot.drill.plan import Blow, Fault, Place, Plan
from phase_boot.drill.run import perform
from phase_boot.drill.scenes import SCENES
from phase_boot.drill.world import Scene
from phase_boot.machine.handler import World
from phase_boot.machine.journal import Journal

BELIEVED: Final = frozenset({"Platform.facts", "Platform.policy"})
"""What the image and its command line say is what all else is measured by: the root hash of the
seed and Secure Boot vouch for it, the machine cannot. Here nothing lies or is corrupt."""
WAITING: Final = frozenset({Kind.COROUTINE, Kind.STREAM})
LASTING: Final = 0.3
"""How many of a walk's faults never go away again."""
MOMENTARY: Final = frozenset({Fault.CANCEL, Fault.CLOCK_AHEAD, Fault.CLOCK_BACK})
"""What is done once it is done."""
MIDWAY: Final = frozenset({Fault.HANG, Fault.TEAR, Fault.NO_SPACE, Fault.IO_ERROR, Fault.CANCEL})
"""What strikes a stream before its first piece, and in a case of its own after it."""


@cache
def all_members() -> dict[str, Member]:
    """Return everything that a boot can ask of the world, by name."""
    ports = ports_within(World, Journal)
    return {str(member): member for port in ports for member in members_of(port)}


@dataclass(frozen=True, slots=True)
class Asked:
    """A boot asks here: so often, and whether from a thread."""

    place: Place
    calls: int
    threaded: bool


def asked(scene: Callable[[], Scene]) -> list[Asked]:
    """Return where ``scene`` asks its ports when nothing fails."""
    plan = Plan()
    perform(scene(), plan)
    return [
        Asked(place, calls, place in plan.threaded) for place, calls in sorted(plan.asked.items())
    ]


def matrix() -> Iterator[tuple[str, Blow]]:
    """Yield every single fault at every place of every scene, with the scene's name.

    Each strikes once, at the first call. Where a place is seen for the first time it strikes
    in other cases at a later call, and from the first one on for good.
    """
    members, known = all_members(), set[Place]()
    for name, scene in SCENES.items():
        for each in asked(scene):
            for blow in _kinds(members[each.place.member], each):
                yield name, blow
                if each.place in known or blow.fault in MOMENTARY:
                    continue
                yield name, replace(blow, lasting=True)
                if each.calls > 1:
                    yield name, replace(blow, first=1 + each.calls // 2)
            known.add(each.place)


def _kinds(member: Member, each: Asked) -> Iterator[Blow]:
    place = each.place
    for number, _ in enumerate(member.refusals()):
        yield Blow(Fault.REFUSE, place, which=number)
    for fault in Fault:
        if fault is Fault.REFUSE:
            continue
        if fault is Fault.HANG and not (each.threaded or member.kind in WAITING):
            continue
        if fault in {Fault.CORRUPT, Fault.LIE} and str(member) in BELIEVED:
            continue
        if fault is Fault.CORRUPT and changes_nothing(member):
            continue
        yield Blow(fault, place)
        if member.kind is Kind.STREAM and fault in MIDWAY:
            yield Blow(fault, place, which=1)


def walk(seed: str, faults: int, among: Sequence[str] = tuple(SCENES)) -> tuple[str, Plan]:
    """Return a scene and a plan of ``faults`` blows, drawn by ``seed`` and always the same."""
    chance = Random(seed)
    name = chance.choice(sorted(among))
    members, places = all_members(), asked(SCENES[name])
    blows = []
    for _ in range(faults):
        each = chance.choice(places)
        blow = chance.choice(list(_kinds(members[each.place.member], each)))
        first = chance.randint(1, max(1, each.calls))
        lasting = blow.fault not in MOMENTARY and chance.random() < LASTING
        blows.append(replace(blow, first=first, lasting=lasting))
    return name, Plan(tuple(blows), seed=seed)
