"""Boots with several faults, drawn by a seed; `--seed N` repeats one."""

from __future__ import annotations

import pytest

from phase_boot.drill.matrix import random_plan
from tests.support.drills import drilled


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        one = metafunc.config.getoption("--seed")
        many = metafunc.config.getoption("--seeds")
        metafunc.parametrize("seed", [one] if one is not None else range(many))


def test_several_random_faults_break_no_invariant(seed: int) -> None:
    name, plan = random_plan(str(seed), count=2 + seed % 5)
    drilled(name, plan)


def test_a_seed_always_draws_the_same_boot() -> None:
    runs = [drilled(*random_plan("7", count=4)) for _ in range(2)]
    assert runs[0].plan.injected == runs[1].plan.injected
    assert runs[0].scenario.journal.lines == runs[1].scenario.journal.lines
