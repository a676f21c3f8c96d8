"""A folder whose machine loses power: which contents a file may have afterwards.

It makes real system calls and keeps a log of what is durable: the bytes of a file since its last
fsync(2) may be lost, and of the changes of names since the last fsync(2) of the folder any first
part may be on the disk, as a journalling filesystem writes them in their order.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

TORN = b"<torn>"
"""Marks the content of a file that was not flushed."""

Names = dict[str, int]
Change = Callable[[Names], Names]


class PowerLost(BaseException):
    """The machine stops: no code of the program runs any more."""


class LossyDisk:
    """Implements `safefs.atomic.Syscalls`, and fails at call number ``at``.

    Args:
        folder: what it works in.
        at: the number of the call that fails, from 0; None for none.
        failure: the errno of that failure; None for a loss of power.
        links: whether the filesystem has hard links.
    """

    def __init__(
        self, folder: Path, at: int | None = None, *, failure: int | None = None, links: bool = True
    ) -> None:
        self.calls: list[str] = []
        self._at = at
        self._failure = failure
        self._links = links
        self._flushed: dict[int, bytes] = {
            path.stat().st_ino: path.read_bytes() for path in folder.iterdir()
        }
        names = {path.name: path.stat().st_ino for path in folder.iterdir()}
        self._possible: list[Names] = [names]

    def outcomes(self, name: str) -> Iterator[bytes | None]:
        """Yield each content that ``name`` may have after a loss of power now."""
        for names in self._possible:
            yield self._flushed.get(names[name], TORN) if name in names else None

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        self._count("open")
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
        self._change(lambda names: {**names, path: os.fstat(fd).st_ino})
        return fd

    def write(self, fd: int, data: memoryview, /) -> int:
        self._count("write")
        self._flushed.pop(os.fstat(fd).st_ino, None)
        # A part only, as the kernel may.
        return os.write(fd, data[: max(1, len(data) // 2)])

    def fchmod(self, fd: int, mode: int) -> None:
        self._count("fchmod")
        os.fchmod(fd, mode)

    def fsync(self, fd: int) -> None:
        self._count("fsync")
        os.fsync(fd)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            self._possible = self._possible[-1:]
        else:
            self._flushed[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def rename(
        self, src: str, dst: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        self._count("rename")
        os.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self._change(lambda names: {k: v for k, v in names.items() if k != src} | {dst: names[src]})

    def link(
        self, src: str, dst: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        self._count("link")
        if not self._links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        os.link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self._change(lambda names: {**names, dst: names[src]})

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        self._count("unlink")
        os.unlink(path, dir_fd=dir_fd)
        self._change(lambda names: {k: v for k, v in names.items() if k != path})

    def _count(self, call: str) -> None:
        number = len(self.calls)
        if self._at is not None and self._failure is None and number >= self._at:
            raise PowerLost
        self.calls.append(call)
        if number == self._at and self._failure is not None:
            raise OSError(self._failure, os.strerror(self._failure))

    def _change(self, change: Change) -> None:
        self._possible.append(change(self._possible[-1]))
