from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.store.disk import Disk


@pytest.fixture(params=["posix", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    """Run each test of the store on the real disk and on the fake one."""
    makers: dict[str, Callable[[], Disk]] = {
        "posix": lambda: PosixDisk(tmp_path / "cas"),
        "memory": MemoryDisk,
    }
    return makers[request.param]()
