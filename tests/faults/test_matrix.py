"""Inject each fault at each member of each port in each state, one a boot; check the invariants.

Many scenarios call the same member in the same state. `make test` injects each fault in one of
them, `make faults` (`--every-scenario`) in all.
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
"""Every fault, once for each scenario that calls its injection point."""


EXPECTED_ENDS = dict.fromkeys(SCENARIOS, State.TARGET) | {
    "chainload": State.FIRMWARE,
    "no_boot_method": State.OFF,
    "permanent_address": State.OFF,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_boot_without_a_fault_holds_every_invariant(name: str) -> None:
    assert drilled(name, Plan()).end is EXPECTED_ENDS[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-scenario")
        cells = CELLS if every else reduced(CELLS)
        ids = [f"{name}-{fault}" for name, fault in cells]
        metafunc.parametrize(("name", "fault"), cells, ids=ids)


def test_one_fault_in_a_boot_breaks_no_invariant(name: str, fault: Fault) -> None:
    run = drilled(name, Plan((fault,)))
    assert run.plan.injected
    if boots_after_one_retry(name, fault):
        assert run.end in {State.TARGET, State.FIRMWARE}, run.scenario.journal.lines


def boots_after_one_retry(name: str, fault: Fault) -> bool:
    """Return whether the boot must succeed after this fault with at most one retry."""
    clock = {FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BACK}
    return not (
        fault.lasting
        or fault.kind is FaultKind.CANCEL
        # "Now" is fixed when the run begins, and manifests expire.
        or fault.kind in clock
        or fault.point.member == "Clock.wall"
        # The scenario's answers leave no further retry.
        or fault.point.state == State.SHELL.value
        or name in {"shell_actions", "no_boot_method", "permanent_address"}
        # The only copy is quarantined as corrupt.
        or (name == "local" and fault.point.member == "Disk.open")
    )


def reduced(cells: Iterable[tuple[str, Fault]]) -> list[tuple[str, Fault]]:
    """Return each fault in one scenario: the first that must boot after it, else the first."""
    chosen: dict[Fault, str] = {}
    for name, fault in cells:
        before = chosen.setdefault(fault, name)
        if boots_after_one_retry(name, fault) and not boots_after_one_retry(before, fault):
            chosen[fault] = name
    return [(name, fault) for fault, name in chosen.items()]


def test_the_reduced_matrix_covers_every_fault() -> None:
    chosen = reduced(CELLS)
    assert set(chosen) <= set(CELLS)
    faults = [fault for _, fault in chosen]
    assert len(faults) == len(set(faults))
    assert set(faults) == {fault for _, fault in CELLS}


def test_the_reduced_matrix_keeps_every_fault_after_which_a_retry_boots() -> None:
    must_boot = {fault for name, fault in CELLS if boots_after_one_retry(name, fault)}
    assert {
        fault for name, fault in reduced(CELLS) if boots_after_one_retry(name, fault)
    } == must_boot


def test_the_matrix_covers_every_port() -> None:
    modules = [
        import_module(found.name)
        for found in pkgutil.iter_modules(phase_boot.ports.__path__, "phase_boot.ports.")
    ]
    declared = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, is_port)
        if kind.__module__ == module.__name__
    }
    # The booted system calls ReceiptUploader: tests/unit/plasma/test_boot_jobs.py lets it fail.
    # The worker calls PeerResponder: see tests/attacks/test_peers.py.
    assert declared - set(ports_within(Ports, Journal)) == {ReceiptUploader, PeerResponder}


def test_the_scenarios_call_every_member_of_every_port() -> None:
    injected = {fault.point.member for _, fault in CELLS}
    assert set(all_members()) - injected == set()


def test_every_state_has_an_injection_point() -> None:
    states = {
        each.point.state for scenario in SCENARIOS.values() for each in injection_points(scenario)
    }
    assert {state.value for state in State if state not in TERMINAL} <= states


def test_each_kind_of_fault_is_injected_into_each_member_that_it_applies_to() -> None:
    injected: dict[str, set[FaultKind]] = {}
    for _, fault in CELLS:
        injected.setdefault(fault.point.member, set()).add(fault.kind)
    always = {
        FaultKind.IO_ERROR,
        FaultKind.NO_SPACE,
        FaultKind.CLOCK_AHEAD,
        FaultKind.CLOCK_BACK,
        FaultKind.CANCEL,
    }
    for member, faults in injected.items():
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
