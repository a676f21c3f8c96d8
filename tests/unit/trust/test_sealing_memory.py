"""Opening a key takes memory that a machine may not have: that is told, and is no crash."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phase_boot.trust.sealing import MAX_MEMORY, Cost, NoMemory, seal


@contextmanager
def little_memory() -> Iterator[None]:
    """Leave this process 256 MiB more of addresses than it has now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 2**28
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_machine_with_too_little_memory_says_so() -> None:
    with little_memory(), pytest.raises(NoMemory):
        seal(b"secret", b"passphrase", Cost(passes=1, memory=MAX_MEMORY))
