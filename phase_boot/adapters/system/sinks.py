"""Outputs of the journal: files, standard output, and a virtio port to the VM's host."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from phase_boot.journal.record import MAX_EARLIER, Record

PORT: Final = Path("/dev/virtio-ports/org.phase_boot.events")
"""A virtio-serial port, by which a virtual machine sends events to its host."""

MAX_FILE: Final = 4 * 1024 * 1024
MAX_WAITING: Final = 2000
"""Lines buffered for a device that does not accept them."""


class JournalUnusable(Exception):
    """The file of ``--journal`` cannot be written; the text has the way out."""


def older(path: Path) -> Path:
    """Return the path that a full file is renamed to."""
    return path.with_name(f"{path.name}.1")


def lines_of(path: Path) -> tuple[str, ...]:
    """Return the complete lines in the last `MAX_EARLIER` bytes of a journal; none if missing."""
    newest = _end_of(path, MAX_EARLIER)
    text = _end_of(older(path), MAX_EARLIER - len(newest)) + newest
    return _whole_lines(text.decode("utf-8", "replace"))


def _end_of(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read(size)
    except OSError:
        return b""


def _whole_lines(text: str) -> tuple[str, ...]:
    # A truncated line at either end is not an event.
    lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    return tuple(line for line in lines if line.startswith("{") and line.endswith("}"))


class FileSink:
    """Implements `journal.Sink` on a file descriptor.

    Raises:
        OSError: ``path`` cannot be opened.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor

    @classmethod
    def file(cls, path: Path, *, keep: bool = False) -> FileSink:
        """Open ``path``, appending if ``keep``; create its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        flags |= os.O_APPEND if keep else os.O_TRUNC
        return cls(str(path), os.open(path, flags, 0o600))

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def write(self, record: Record) -> None:
        """Write the record's line."""
        left = memoryview(record.line.encode() + b"\n")
        while left:
            left = left[os.write(self._descriptor, left) :]

    def flush(self) -> None:
        """Flush the file to the disk, if the descriptor supports it."""
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)


def asked_for(path: Path | None) -> tuple[FileSink, ...]:
    """Return the sink of ``--journal``, or an empty tuple without it.

    Raises:
        JournalUnusable: the file cannot be opened.
    """
    if path is None:
        return ()
    try:
        return (FileSink.file(path),)
    except OSError as error:
        raise JournalUnusable(
            f"The journal {error.filename or path} cannot be written ({error.strerror}): name "
            "another file with --journal, or leave it out."
        ) from error


class BoundedFile:
    """Implements `journal.Sink` on files of at most twice ``bound`` bytes in total.

    A full file is rotated to `older` of its path, which replaces the previous one, so that a
    machine that waits for weeks does not fill /run.

    Raises:
        OSError: ``path`` cannot be opened.
    """

    def __init__(self, path: Path, *, bound: int = MAX_FILE) -> None:
        """Append to the file."""
        self.name = str(path)
        self._path = path
        self._bound = bound
        self._file = FileSink.file(path, keep=True)
        self._size = path.stat().st_size

    def write(self, record: Record) -> None:
        """Write the record's line."""
        size = len(record.line.encode()) + 1
        if self._size and self._size + size > self._bound:
            self._path.rename(older(self._path))
            self._file.close()
            self._file, self._size = FileSink.file(self._path, keep=True), 0
        self._file.write(record)
        self._size += size

    def flush(self) -> None:
        """Flush the file to the disk."""
        self._file.flush()


class DeviceSink:
    """Implements `journal.Sink` on a device whose driver may load later.

    Lines are buffered, up to a bound, until the device appears and accepts them: a boot never
    waits for a reader at the other end.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._waiting: list[bytes] = []
        self._descriptor: int | None = None

    def write(self, record: Record) -> None:
        """Write the buffered lines and this record's."""
        self._waiting.append(record.line.encode() + b"\n")
        if len(self._waiting) > MAX_WAITING:
            # Keep the first line: it may be partly written, and its rest must follow.
            del self._waiting[1]
        self.flush()

    @property
    def waiting(self) -> int:
        """Number of buffered lines."""
        return len(self._waiting)

    def flush(self) -> None:
        """Write buffered lines, if the device exists."""
        if self._descriptor is None:
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags)
            except OSError:
                return
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                taken = os.write(self._descriptor, self._waiting[0])
                self._waiting[0] = self._waiting[0][taken:]
                if not self._waiting[0]:
                    del self._waiting[0]
