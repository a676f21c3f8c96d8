"""Inject each fault at each member of each port in each state, one a boot; check the invariants.

Many scenarios ask the same member in the same state. `make test` injects each fault in one of them,
`make faults` (`--every-scenario`) in all.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterable
from importlib import import_module

import pytest

import phase_boot.ports
from phase_boot.drill.injection import Fault, FaultKind, Plan
from phase_boot.drill.matrix import all_members, injection_points, matrix
from phase_boot.drill.members import is_port, members_of, ports_within
from phase_boot.drill.scenarios import SCENARIOS
from phase_boot.journal.journal import Journal
from phase_boot.machine.graph import TERMINAL, State
from phase_boot.machine.handler import Ports
from phase_boot.ports.peer_sharing import PeerResponder
from phase_boot.ports.receipt_upload import ReceiptUploader
from tests.support.drills import drilled

CELLS = list(matrix())
"""Every fault in every scenario that asks for it."""


ENDS = dict.fromkeys(SCENARIOS, State.TARGET) | {
    "staged": State.FIRMWARE,
    "stranded": State.OFF,
    "exposed": State.OFF,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_boot_without_a_fault_holds_every_invariant(name: str) -> None:
    assert drilled(name, Plan()).end is ENDS[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-scenario")
        cells = CELLS if every else once(CELLS)
        ids = [f"{name}-{fault}" for name, fault in cells]
        metafunc.parametrize(("name", "fault"), cells, ids=ids)


def test_one_fault_in_a_boot_breaks_no_invariant(name: str, fault: Fault) -> None:
    run = drilled(name, Plan((fault,)))
    assert run.plan.injected
    if passes(name, fault):
        assert run.end in {State.TARGET, State.FIRMWARE}, run.scenario.journal.lines


def passes(name: str, fault: Fault) -> bool:
    """Say whether one more try is all that it takes after this fault."""
    clock = {FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BACK}
    return not (
        fault.lasting
        or fault.kind is FaultKind.CANCEL
        # The one time of the run is fixed when it begins, and a manifest is not valid at any time.
        or fault.kind in clock
        or fault.point.member == "Clock.wall"
        # The person does something else, or it is their second try already.
        or fault.point.state == State.SHELL.value
        or name in {"helped", "stranded", "exposed"}
        # The only copy there was is lost: what is corrupt is set aside.
        or (name == "local" and fault.point.member == "Disk.open")
    )


def once(cells: Iterable[tuple[str, Fault]]) -> list[tuple[str, Fault]]:
    """Return each fault in one scenario: the first that must end well after it, else the first."""
    chosen: dict[Fault, str] = {}
    for name, fault in cells:
        before = chosen.setdefault(fault, name)
        if passes(name, fault) and not passes(before, fault):
            chosen[fault] = name
    return [(name, fault) for fault, name in chosen.items()]


def test_the_reduced_matrix_covers_every_fault() -> None:
    chosen = once(CELLS)
    assert set(chosen) <= set(CELLS)
    faults = [fault for _, fault in chosen]
    assert len(faults) == len(set(faults))
    assert set(faults) == {fault for _, fault in CELLS}


def test_the_reduced_matrix_keeps_every_fault_after_which_a_retry_boots() -> None:
    end_well = {fault for name, fault in CELLS if passes(name, fault)}
    assert {fault for name, fault in once(CELLS) if passes(name, fault)} == end_well


def test_the_matrix_covers_every_port() -> None:
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
    # The desk is asked by the booted system, where tests/unit/plasma/test_boot_jobs.py has it fail.
    # The hand is asked in the other process only, by tests/attacks/test_peers.py.
    assert written - set(ports_within(Ports, Journal)) == {ReceiptUploader, PeerResponder}


def test_the_scenarios_call_every_member_of_every_port() -> None:
    struck = {fault.point.member for _, fault in CELLS}
    assert set(all_members()) - struck == set()


def test_every_state_has_an_injection_point() -> None:
    states = {
        each.point.state for scenario in SCENARIOS.values() for each in injection_points(scenario)
    }
    assert {state.value for state in State if state not in TERMINAL} <= states


def test_each_kind_of_fault_is_injected_into_each_member_that_it_applies_to() -> None:
    struck: dict[str, set[FaultKind]] = {}
    for _, fault in CELLS:
        struck.setdefault(fault.point.member, set()).add(fault.kind)
    always = {
        FaultKind.IO_ERROR,
        FaultKind.NO_SPACE,
        FaultKind.CLOCK_AHEAD,
        FaultKind.CLOCK_BACK,
        FaultKind.CANCEL,
    }
    for member, faults in struck.items():
        assert always <= faults, member
        assert (FaultKind.REFUSE in faults) is bool(all_members()[member].raises), member


def test_ports_that_a_port_returns_are_covered_too() -> None:
    names = {port.__name__ for port in ports_within(Ports, Journal)}
    assert {"Disk", "StateFiles", "Sink"} <= names
    assert {member.name for member in members_of(_named("Disk"))} >= {
        "open_partial",
        "publish",
        "open",
    }


def _named(name: str) -> type:
    return next(port for port in ports_within(Ports, Journal) if port.__name__ == name)
