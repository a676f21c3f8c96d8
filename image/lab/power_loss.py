"""What a stick loses when its power goes: writes that it had taken and was never told to flush.

QEMU's driver `blklogwrites` keeps every write in the order of its completion, and every flush, in
the format of Linux's dm-log-writes. From the stick as it was before and that log comes the stick
as a power cut leaves it: all that was flushed, and of the rest as much as one likes.
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
"""The log's size; it is sparse, and no boot writes so much."""
_MAGIC: Final = 0x6A736677736872
_HEAD: Final = struct.Struct("<QQQI")
_ENTRY: Final = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8
_FLAGS: Final = _FLUSH | _FUA | _DISCARD | _MARK
_ROW: Final = 4
"""So many entries in a row, or two at the very end, are no coincidence."""
_MOST: Final = LOG_BYTES


class PowerError(RuntimeError):
    """The log of writes cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Write:
    """One entry: `size` bytes for `offset` on the disk, which lie at `place` in the log."""

    offset: int
    size: int
    place: int
    flags: int

    @property
    def flushes(self) -> bool:
        """Whether all that was written before is safe from here on."""
        return bool(self.flags & _FLUSH)

    @property
    def is_safe(self) -> bool:
        """Whether this write alone was told to stay."""
        return bool(self.flags & _FUA)


def prepare(disk: Path, before: Path, log: Path) -> None:
    """Keep `disk` as it is now in `before`, and make an empty log."""
    subprocess.run(
        ["/usr/bin/env", "cp", "--sparse=always", "--reflink=auto", str(disk), str(before)],
        check=True,
    )
    with log.open("wb") as file:
        file.truncate(LOG_BYTES)


def writes(log: Path) -> Iterator[Write]:
    """Every entry of a log, oldest first; those that were on their way at the end are left out.

    On a busy host such a one can wait for seconds while later ones are taken and flushed: then it
    is a hole in the middle. Raises PowerError when it is no log.
    """
    with log.open("rb") as file:
        magic, version, _, sector = _HEAD.unpack(file.read(_HEAD.size))
        # Before the first flush the log has no head.
        if (magic, version, sector) not in ((0, 0, 0), (_MAGIC, 1, SECTOR)):
            raise PowerError(f"{log} is no log of writes in sectors of {SECTOR} bytes.")
        at = SECTOR
        while True:
            found = _entry(file, at)
            if found is None:
                after = _after_a_hole(file, at)
                if after is None:
                    return
                at = after
                continue
            if not found.flags & _MARK:
                yield found
            at = found.place + found.size


def _entry(file: BinaryIO, at: int) -> Write | None:
    """The entry that begins there, or None where nothing was written."""
    file.seek(at)
    head = file.read(_ENTRY.size)
    if len(head) < _ENTRY.size or not any(head):
        return None
    first, sectors, flags, length = _ENTRY.unpack(head)
    kept = 0 if flags & _DISCARD else sectors * SECTOR
    if flags & _MARK:
        kept = -(-length // SECTOR) * SECTOR
    return Write(first * SECTOR, kept, at + SECTOR, flags)


def _after_a_hole(file: BinaryIO, at: int) -> int | None:
    """Where entries go on after one that is missing; None if nothing was written after it."""
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
    """Say whether there is a row of entries, and not what one of them wrote."""
    for number in range(_ROW):
        found = _entry(file, at)
        if found is None:
            return number > 1
        file.seek(at)
        rest = file.read(SECTOR)[_ENTRY.size :]
        if found.flags & ~_FLAGS or found.size > _MOST or found.offset > _MOST or any(rest):
            return False
        at = found.place + found.size
    return True


def cut(before: Path, log: Path, disk: Path, *, forgets: float) -> int:
    """Make `disk` what `before` became by `log`; return how many unflushed writes were lost.

    Of those the share `forgets` is lost, the same ones every time. What was flushed never is.
    """
    entries = list(writes(log))
    safe = max((number for number, entry in enumerate(entries) if entry.flushes), default=-1)
    chance = random.Random(len(entries))  # noqa: S311 - nothing secret about a bad stick
    lost = 0
    shutil.move(before, disk)
    with disk.open("r+b") as out, log.open("rb") as source:
        for number, entry in enumerate(entries):
            if number > safe and not entry.is_safe and entry.size and chance.random() < forgets:
                lost += 1
                continue
            source.seek(entry.place)
            out.seek(entry.offset)
            out.write(source.read(entry.size))
    return lost
