"""What all tests share: examples are never judged by how long they take."""

from __future__ import annotations

import gc
from collections.abc import Generator
from itertools import islice

import pytest
from hypothesis import HealthCheck, settings

from tests.support.examples import USUAL

# A virtual machine may be running on the other core: slowness is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unhurried", unhurried)
settings.register_profile("thorough", unhurried, max_examples=20 * USUAL)
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("drill")
    group.addoption(
        "--seed", type=int, help="repeat this boot of tests/faults/test_random_faults.py"
    )
    group.addoption("--seeds", type=int, default=300, help="number of boots with several faults")
    group.addoption(
        "--every-scenario", action="store_true", help="inject each fault in each scenario"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is collected out of the garbage collector.

    Each worker of pytest-xdist collects all tests. These are some million objects that live until
    the end, and the collector would go through them again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files so that each interop file is followed by two others.

    Interop tests mostly wait for real programs, and the others compute. pytest-xdist hands out
    whole files in this order (`--dist loadfile --no-loadscope-reorder`), so that three workers keep
    two cores busy and the long waits begin early.
    """
    files = list(dict.fromkeys(item.path for item in items))
    waiting = [file for file in files if file.parent.name == "interop"]
    others = iter([file for file in files if file.parent.name != "interop"])
    order = [file for first in waiting for file in (first, *islice(others, 2))] + list(others)
    place = {file: number for number, file in enumerate(order)}
    items.sort(key=lambda item: place[item.path])
