"""Where the journal's lines go: files, the standard output, and the port to a host that watches."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

PORT: Final = Path("/dev/virtio-ports/org.phase_boot.events")
"""A virtio-serial port: how a virtual machine tells its host what it does."""


class Descriptor:
    """Implements `journal.Sink` on a file descriptor.

    Raises:
        OSError: ``path`` cannot be opened.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor

    @classmethod
    def file(cls, path: Path) -> Descriptor:
        """Append to the file ``path``; its folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        return cls(str(path), os.open(path, flags, 0o600))

    @classmethod
    def device(cls, path: Path) -> Descriptor:
        """Write to a device that may have nobody at its other end."""
        return cls(str(path), os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def write(self, line: str) -> None:
        """Write the line; what a device has no room for is lost rather than waited for."""
        left = memoryview(line.encode() + b"\n")
        with contextlib.suppress(BlockingIOError):
            while left:
                left = left[os.write(self._descriptor, left) :]

    def flush(self) -> None:
        """Ask the kernel to write out what it buffers, where there is something to write to."""
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
