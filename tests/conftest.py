"""What all tests share: examples are never judged by how long they take."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A virtual machine may be running on the other core: slowness is no failure.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("drill")
    group.addoption("--seed", type=int, help="repeat this boot of tests/faults/test_walks.py")
    group.addoption("--seeds", type=int, default=300, help="so many boots with several faults")
    group.addoption(
        "--every-scenario", action="store_true", help="inject each fault in each scenario"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start what waits for real programs first, so that the other tests fill the waiting.

    pytest-xdist hands out whole files in this order (`--dist loadfile --no-loadscope-reorder`).
    """
    items.sort(key=lambda item: item.path.parent.name != "interop")
