"""kexec by kexec-tools: load through descriptors that were hashed, then jump."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from phase_boot.handoff.initrd import Initrd
from phase_boot.machine.errors import KexecRefused
from phase_boot.store.cas import Fetched

KEXEC: Final = "/usr/sbin/kexec"
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
METHODS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "kexec_file_load": ("--kexec-file-syscall",),
        "kexec_load": ("--kexec-syscall", "--no-checks"),
    }
)
"""Best first: the file call checks signatures and copies the firmware's tables by itself.

`--no-checks` leaves out kexec-tools' own sha256 over what is already in the kernel's hands: it
runs with the caches off, takes 18 s of an emulated arm64 boot, and guards against nothing but a
device that writes into memory it was not given. The kernel's own loader for arm64 has none.
"""
MAX_ERROR: Final = 300


class KexecTools:
    """Implements `ports.kexec.Kexec` with the program ``program``."""

    def __init__(self, program: str = KEXEC) -> None:
        self._program = program

    async def load(self, kernel: Fetched, initrd: Initrd, cmdline: str) -> str:
        """Load with the first system call that takes the images."""
        with _assembled(initrd) as initrd_fd:
            reasons = []
            for method, options in METHODS.items():
                refusal = await self._run(
                    *options,
                    "--load",
                    f"/proc/self/fd/{kernel.fileno()}",
                    f"--initrd=/proc/self/fd/{initrd_fd}",
                    f"--command-line={cmdline}",
                    descriptors=(kernel.fileno(), initrd_fd),
                )
                if refusal is None:
                    return method
                reasons.append(f"{method}: {refusal}")
        raise KexecRefused(f"the running kernel would not load the new one ({'; '.join(reasons)})")

    async def jump(self) -> None:
        """Start what is loaded; if this returns at all it raises."""
        refusal = await self._run("--exec", "--no-ifdown")
        raise KexecRefused(f"the jump into the new kernel failed ({refusal or 'no reason given'})")

    async def _run(self, *arguments: str, descriptors: tuple[int, ...] = ()) -> str | None:
        """Run kexec-tools; return None if it succeeded, else what it said, in one line."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return f"{self._program} cannot be run: {error.strerror}"
        _, said = await process.communicate()
        if process.returncode == 0:
            return None
        text = " ".join(said.decode("utf-8", "replace").split())
        return text[:MAX_ERROR] or f"exit status {process.returncode}"


@contextmanager
def _assembled(initrd: Initrd) -> Iterator[int]:
    """Yield a read-only descriptor of the initrd, in memory that nobody can change any more.

    It must not be open for writing anywhere: the kernel refuses to load such a file.
    """
    draft = os.memfd_create("phase-initrd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in initrd.parts():
            _append(draft, part)
        fcntl.fcntl(draft, fcntl.F_ADD_SEALS, SEALS)
        final = os.open(f"/proc/self/fd/{draft}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(draft)
    try:
        yield final
    finally:
        os.close(final)


def _append(draft: int, part: bytes | Fetched) -> None:
    if isinstance(part, bytes):
        left = memoryview(part)
        while left:
            left = left[os.write(draft, left) :]
        return
    offset = 0
    while offset < part.artifact.size:
        sent = os.sendfile(draft, part.fileno(), offset, part.artifact.size - offset)
        if not sent:
            raise KexecRefused(f"the {part.artifact.name} became shorter after it was verified")
        offset += sent
