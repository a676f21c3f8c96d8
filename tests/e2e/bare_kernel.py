"""The example target's kernel by itself: no firmware and no stick, an initrd and a command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

from image.lab.qemu_args import QEMU_PLATFORMS
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.handoff.initrd import gap_after
from tests.support.boot_images import Published

SECONDS = 180
CONSOLE = "console=ttyS0 panic=-1 cryptomgr.notests"


def with_init(initrd: bytes, script: str) -> bytes:
    """Return ``initrd`` with ``script`` as its init, which ends the machine."""
    init = f"#!/bin/sh\nmount -t proc proc /proc\n{script}\necho the end\npoweroff -f\n".encode()
    return initrd + gap_after(len(initrd)) + archive([Entry.file("init", init, mode=0o755)])


def console_of(published: Published, initrd: Path, cmdline: str) -> str:
    """Boot until the machine ends, and return what it wrote to its console."""
    board = QEMU_PLATFORMS[published.arch]
    argv = [
        board.program,
        *("-machine", board.tcg_machine, "-accel", "tcg", "-cpu", board.tcg_cpu, "-m", "512"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-kernel", str(published.artifact("kernel"))),
        *("-initrd", str(initrd), "-append", cmdline),
    ]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=SECONDS)
    console_output = done.stdout.replace("\r", "")
    assert "the end" in console_output, console_output[-2000:] + done.stderr[-1000:]
    return console_output
