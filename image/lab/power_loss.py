"""Simulate what a disk loses in a power cut: writes that it accepted and did not flush yet.

QEMU's driver `blklogwrites` logs every write in the order of completion, and every flush, in the
format of Linux's dm-log-writes. `replay` applies that log to a copy of the disk from before the
boot: all flushed writes, and a chosen share of the others.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

SECTOR: Final = 512
LOG_BYTES: Final = 8 << 30
"""The size of the sparse log file; no boot writes as much."""
_MAGIC: Final = 0x6A736677736872
_HEADER: Final = struct.Struct("<QQQI")
_ENTRY: Final = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8
_FLAGS: Final = _FLUSH | _FUA | _DISCARD | _MARK
_CONSECUTIVE: Final = 4
"""This many plausible entries in sequence, or two at the end of the log, are taken for entries."""


class WriteLogError(RuntimeError):
    """The write log is invalid; the message says why."""


@dataclass(frozen=True, slots=True)
class LoggedWrite:
    """An entry: `size` bytes for `offset` on the disk, stored at `position` in the log."""

    offset: int
    size: int
    position: int
    flags: int

    @property
    def flushes(self) -> bool:
        """Whether all earlier writes are durable from here on."""
        return bool(self.flags & _FLUSH)

    @property
    def is_durable(self) -> bool:
        """Whether this write itself was durable at completion (force unit access)."""
        return bool(self.flags & _FUA)


def start_log(disk: Path, before: Path, log: Path) -> None:
    """Copy `disk` to `before`, and create an empty log."""
    subprocess.run(
        ["/usr/bin/env", "cp", "--sparse=always", "--reflink=auto", str(disk), str(before)],
        check=True,
    )
    with log.open("wb") as file:
        file.truncate(LOG_BYTES)


def read_log(log: Path) -> Iterator[LoggedWrite]:
    """Yield the entries of a log, oldest first; a write that was in flight at the end is missing.

    On a busy host a write can be in flight for seconds while later ones complete and are flushed,
    so a missing entry can leave a hole in the middle of the log.

    Raises:
        WriteLogError: the file is no write log.
    """
    with log.open("rb") as file:
        magic, version, _, sector = _HEADER.unpack(file.read(_HEADER.size))
        # Before the first flush the log has no header.
        if (magic, version, sector) not in ((0, 0, 0), (_MAGIC, 1, SECTOR)):
            raise WriteLogError(f"{log} is no write log with sectors of {SECTOR} bytes.")
        at = SECTOR
        while True:
            found = _entry(file, at)
            if found is None:
                after = _skip_hole(file, at)
                if after is None:
                    return
                at = after
                continue
            if not found.flags & _MARK:
                yield found
            at = found.position + found.size


def _entry(file: BinaryIO, at: int) -> LoggedWrite | None:
    """Return the entry at `at`, or None where nothing was written."""
    file.seek(at)
    head = file.read(_ENTRY.size)
    if len(head) < _ENTRY.size or not any(head):
        return None
    first, sectors, flags, length = _ENTRY.unpack(head)
    kept = 0 if flags & _DISCARD else sectors * SECTOR
    if flags & _MARK:
        kept = -(-length // SECTOR) * SECTOR
    return LoggedWrite(first * SECTOR, kept, at + SECTOR, flags)


def _skip_hole(file: BinaryIO, at: int) -> int | None:
    """Return where entries continue after a missing one; None at the end of the log."""
    while True:
        at += SECTOR
        try:
            at = max(at, os.lseek(file.fileno(), at, os.SEEK_DATA) // SECTOR * SECTOR)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise
        if _looks_like_entries(file, at):
            return at


def _looks_like_entries(file: BinaryIO, at: int) -> bool:
    """Say whether a sequence of entries begins at `at`, and not data that looks like one entry."""
    for number in range(_CONSECUTIVE):
        found = _entry(file, at)
        if found is None:
            return number > 1
        file.seek(at)
        rest = file.read(SECTOR)[_ENTRY.size :]
        if found.flags & ~_FLAGS or found.size > LOG_BYTES or found.offset > LOG_BYTES or any(rest):
            return False
        at = found.position + found.size
    return True


def replay(before: Path, log: Path, disk: Path, *, lose: float) -> int:
    """Apply `log` to `before`, and move the result to `disk`; return the number of lost writes.

    Flushed writes are never lost. Of the others the share `lose` is, the same ones in every run.
    """
    entries = list(read_log(log))
    last_flush = max((number for number, entry in enumerate(entries) if entry.flushes), default=-1)
    generator = random.Random(len(entries))  # noqa: S311 - the loss of writes is no secret
    lost = 0
    shutil.move(before, disk)
    with disk.open("r+b") as out, log.open("rb") as source:
        for number, entry in enumerate(entries):
            if (
                number > last_flush
                and not entry.is_durable
                and entry.size
                and generator.random() < lose
            ):
                lost += 1
                continue
            source.seek(entry.position)
            out.seek(entry.offset)
            out.write(source.read(entry.size))
    return lost
