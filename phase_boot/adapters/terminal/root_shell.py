"""Runs a root shell on one terminal, as a session of its own with job control.

In the seed it is a systemd unit: a child of the daemon would inherit the daemon's restrictions.
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
"""A session leader that opens a terminal controls it, so Ctrl-C reaches programs in the shell."""
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

    The state is polled: `systemctl start --wait` needs a message bus, which the seed does not run.
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
    """Return the terminal that /dev/tty0 stands for: tty0 cannot be a controlling terminal."""
    try:
        names = (TERMINALS / terminal.name / "active").read_text().split()
    except OSError:
        return terminal
    return terminal.with_name(names[-1]) if names else terminal


def _kind(terminal: Path) -> str:
    return "linux" if re.fullmatch(r"tty\d+", terminal.name) else "vt102"


async def _end(process: Process) -> None:
    """Send SIGHUP, as a closed line does; kill what still runs after `GRACE_SECONDS`."""
    for number in (signal.SIGHUP, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
                return
