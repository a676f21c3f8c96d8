"""Memory use of a process."""

from __future__ import annotations

import re
from pathlib import Path


def peak_rss(pid: int) -> int:
    """Return the peak resident set size of a process in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
