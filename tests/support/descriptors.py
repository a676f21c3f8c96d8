"""The open descriptors of the test's own process."""

from __future__ import annotations

import gc
import os
from pathlib import Path


def open_descriptors() -> frozenset[int]:
    """Return their numbers, after the garbage collector closed what earlier tests left open.

    Without that a descriptor of another test could be closed between the two counts of one test.
    """
    gc.collect()
    listed = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    # One of them was the folder itself while it was being listed.
    return frozenset(fd for fd in listed if os.path.lexists(f"/proc/self/fd/{fd}"))
