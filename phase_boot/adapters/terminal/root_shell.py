"""A shell of the seed on one of its terminals, with all that belongs to a session of its own.

In the seed it is a unit: a child of the daemon would have the daemon's few rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Final

from phase_boot.adapters.system.programs import run as run_program

SCRIPT: Final = 'exec sh -i <>"$0" >&0 2>&0'
"""Whoever leads a session and opens a terminal has it: so Ctrl-C reaches what runs in the shell."""
TERMINALS: Final = Path("/sys/class/tty")
PATH: Final = "/usr/bin:/usr/sbin:/bin:/sbin"
GRACE_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.5
UNIT: Final = Path("/usr/lib/systemd/system/phase-root-shell@.service")


async def run(terminal: Path) -> None:
    """Run a shell on ``terminal`` to its end; if cancelled, end it."""
    terminal = _behind(terminal)
    if UNIT.exists():
        await _as_unit(f"phase-root-shell@{terminal.name}.service")
        return
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", SCRIPT, str(terminal)),
        stdin=DEVNULL,
        start_new_session=True,
        cwd="/",
        env={"PATH": PATH, "HOME": "/root", "TERM": _kind(terminal)},
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            await _end(process)


async def _as_unit(unit: str) -> None:
    """Start the unit, and return when it has ended.

    We look again and again: `systemctl start --wait` takes a message bus, and the seed has none.
    """
    failure = await run_program("systemctl", "start", unit)
    try:
        while failure is None:
            await asyncio.sleep(LOOK_SECONDS)
            failure = await run_program("systemctl", "is-active", "--quiet", unit)
    except asyncio.CancelledError:
        await run_program("systemctl", "stop", unit)
        raise


def _behind(terminal: Path) -> Path:
    """Return the terminal that /dev/tty0 stands for: nobody can have tty0 itself."""
    try:
        names = (TERMINALS / terminal.name / "active").read_text().split()
    except OSError:
        return terminal
    return terminal.with_name(names[-1]) if names else terminal


def _kind(terminal: Path) -> str:
    return "linux" if re.fullmatch(r"tty\d+", terminal.name) else "vt102"


async def _end(process: Process) -> None:
    """Hang up, as a line does; whatever does not take the hint is killed."""
    for number in (signal.SIGHUP, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
                return
