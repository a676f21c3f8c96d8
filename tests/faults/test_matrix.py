"""Every fault at every member of every port in every state: one at a time, and what must hold."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import pytest

import phase_boot.ports
from phase_boot.drill.matrix import all_members, asked, matrix
from phase_boot.drill.members import is_port, members_of, ports_within
from phase_boot.drill.plan import Blow, Fault, Plan
from phase_boot.drill.scenes import SCENES
from phase_boot.machine.graph import TERMINAL, State
from phase_boot.machine.handler import World
from phase_boot.machine.journal import Journal
from phase_boot.ports.desk import Desk
from phase_boot.ports.neighbours import Hand
from tests.faults.conftest import drilled

CELLS = list(matrix())


ENDS = dict.fromkeys(SCENES, State.TARGET) | {
    "staged": State.FIRMWARE,
    "stranded": State.OFF,
    "exposed": State.OFF,
}


@pytest.mark.parametrize("name", SCENES)
def test_a_boot_without_a_fault_keeps_every_promise(name: str) -> None:
    assert drilled(name, Plan()).end is ENDS[name]


@pytest.mark.parametrize(("name", "blow"), CELLS, ids=[f"{name}-{blow}" for name, blow in CELLS])
def test_a_single_fault(name: str, blow: Blow) -> None:
    run = drilled(name, Plan((blow,)))
    assert run.plan.struck
    if passes(name, blow):
        assert run.end in {State.TARGET, State.FIRMWARE}, run.scene.lines.lines


def passes(name: str, blow: Blow) -> bool:
    """Say whether one more try is all that it takes after this fault."""
    clock = {Fault.CLOCK_AHEAD, Fault.CLOCK_BACK}
    return not (
        blow.lasting
        or blow.fault is Fault.CANCEL
        # The one time of the run is fixed when it begins, and a manifest is not valid at any time.
        or blow.fault in clock
        or blow.place.member == "Clock.wall"
        # The person does something else, or it is their second try already.
        or blow.place.state == State.SHELL.value
        or name in {"helped", "stranded", "exposed"}
        # The only copy there was is lost: what is corrupt is set aside.
        or (name == "local" and blow.place.member == "Disk.open")
    )


def test_every_port_of_the_world_is_under_fault() -> None:
    modules = [
        import_module(found.name)
        for found in pkgutil.iter_modules(phase_boot.ports.__path__, "phase_boot.ports.")
    ]
    written = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, is_port)
        if kind.__module__ == module.__name__
    }
    # The desk is asked by the booted system, where tests/unit/plasma/test_booted.py has it fail.
    # The hand is asked in the other process only, by tests/attacks/test_peers.py.
    assert written - set(ports_within(World, Journal)) == {Desk, Hand}


def test_every_member_of_every_port_is_asked_by_some_scene() -> None:
    struck = {blow.place.member for _, blow in CELLS}
    assert set(all_members()) - struck == set()


def test_every_state_that_runs_asks_something_of_the_world() -> None:
    states = {each.place.state for scene in SCENES.values() for each in asked(scene)}
    assert {state.value for state in State if state not in TERMINAL} <= states


def test_every_fault_strikes_every_kind_of_member_that_it_can() -> None:
    struck: dict[str, set[Fault]] = {}
    for _, blow in CELLS:
        struck.setdefault(blow.place.member, set()).add(blow.fault)
    always = {Fault.IO_ERROR, Fault.NO_SPACE, Fault.CLOCK_AHEAD, Fault.CLOCK_BACK, Fault.CANCEL}
    for member, faults in struck.items():
        assert always <= faults, member
        assert (Fault.REFUSE in faults) is bool(all_members()[member].raises), member


def test_what_a_port_hands_out_is_under_fault_too() -> None:
    names = {port.__name__ for port in ports_within(World, Journal)}
    assert {"Disk", "Notebook", "Sink"} <= names
    assert {member.name for member in members_of(_named("Disk"))} >= {
        "open_partial",
        "publish",
        "open",
    }


def _named(name: str) -> type:
    return next(port for port in ports_within(World, Journal) if port.__name__ == name)
