"""A clock that fails at one call, for each of its calls: a fault between any two steps.

The other suites inject a fault at a few calls of a member. A state reads the clock between most of
its steps, so its failure shows what the state leaves behind there.
"""

from __future__ import annotations

from itertools import count

import pytest

from phase_boot.drill.injection import Fault, FaultKind, InjectionPoint, Plan
from phase_boot.drill.matrix import injection_points
from phase_boot.drill.scenarios import SCENARIOS
from tests.support.drills import drilled

CLOCK = "Clock.monotonic"
FEW_CALLS = 20
"""Calls of one state that `make test` lets fail; `make faults` takes all of every scenario."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    every = metafunc.config.getoption("--every-scenario")
    cases = [
        (name, each.point, None if every else FEW_CALLS)
        for name in (SCENARIOS if every else ("peer_sharing",))
        for each in injection_points(SCENARIOS[name])
        if each.point.member == CLOCK
    ]
    ids = [f"{name}-{point.state}" for name, point, _ in cases]
    metafunc.parametrize(("name", "point", "calls"), cases, ids=ids)


def test_a_clock_that_fails_once_leaves_nothing_behind(
    name: str, point: InjectionPoint, calls: int | None
) -> None:
    for first in count(1):
        plan = Plan((Fault(FaultKind.IO_ERROR, point, first=first),))
        drilled(name, plan)
        if not plan.injected or first == calls:
            break
    assert first > 1
