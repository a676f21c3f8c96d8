"""The memory that a process has used."""

from __future__ import annotations

import re
from pathlib import Path


def peak_rss(pid: int) -> int:
    """Return the most memory that a process ever held, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
