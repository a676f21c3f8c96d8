"""A command that is killed, or watched, before each system call that changes a file."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from phase_boot.cli.main import main

KILLED = 137
STEPS = frozenset(
    {"chmod", "fchmod", "fsync", "ioctl", "mkdir", "open", "rename", "rmdir", "unlink"}
)
"""Functions of the modules posix and fcntl that change files, or make changes durable."""


def is_step(called: Any) -> bool:
    """Tell whether a call of C code changes a file, or makes a change durable."""
    if getattr(called, "__module__", None) in {"posix", "fcntl"}:
        return called.__name__ in STEPS
    files = (io.BufferedRandom, io.BufferedWriter)
    return called.__name__ in {"write", "flush"} and isinstance(called.__self__, files)


def watched(words: list[str], before: Callable[[Any], None]) -> int:
    """Run a command, calling ``before`` with what each step is about to call."""

    def look(_frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and is_step(called):
            before(called)

    earlier = sys.getprofile()
    sys.setprofile(look)
    try:
        return main(words)
    finally:
        sys.setprofile(earlier)


def killed(words: list[str], at: int) -> bool:
    """Run a command in a process that is killed before step ``at``; tell whether it came there."""
    pid = os.fork()
    if not pid:
        left = at

        def count(_called: Any) -> None:
            nonlocal left
            if not left:
                os._exit(KILLED)
            left -= 1

        status = 99
        try:
            # What is printed is the parent's to print.
            sys.stdout = sys.stderr = io.StringIO()
            status = watched(words, count)
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    status = os.waitstatus_to_exitcode(ended)
    assert status in {0, KILLED}
    return status == KILLED
