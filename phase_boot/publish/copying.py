"""Copies of input files. The copy is hashed, so that what is published is what was hashed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from typing import BinaryIO, Final, TypeAlias

from phase_boot.console.progress import Report
from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest

FICLONE: Final = 0x40049409
"""The ioctl of linux/fs.h by which a file shares the blocks of another; Python 3.11 lacks it."""
_PIECE: Final = 1 << 20
# What a kernel, a file system or a filter of system calls says that shares no blocks.
_UNABLE: Final = frozenset(
    {
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.ETXTBSY,
        errno.EXDEV,
    }
)

Clone: TypeAlias = Callable[[int, int], None]
"""Lets the second open file share the blocks of the first, or raises OSError."""


def clone(source: int, target: int) -> None:
    """Let an empty file share all blocks of another one; raise OSError where that is impossible."""
    fcntl.ioctl(target, FICLONE, source)


def copied(name: str, source: BinaryIO, target: BinaryIO, share: Clone, report: Report) -> Artifact:
    """Fill ``target`` with ``source``, sharing blocks if possible, and return what it holds then.

    ``target`` is empty, and open for reading too.

    Raises:
        OSError: a file cannot be read or written.
    """
    if not is_plain(source) or not _shared(source, target, share):
        return _read(name, source, target, report, "copy")
    return hashed(name, target, report)


def hashed(name: str, file: BinaryIO, report: Report) -> Artifact:
    """Read an open file to its end and return it as the artifact ``name``."""
    return _read(name, file, None, report, "check")


def is_plain(file: BinaryIO) -> bool:
    """Tell whether an open file is a regular one, neither a pipe nor a device."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _shared(source: BinaryIO, target: BinaryIO, share: Clone) -> bool:
    try:
        share(source.fileno(), target.fileno())
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return False
    return True


def _read(
    name: str, source: BinaryIO, target: BinaryIO | None, report: Report, step: str
) -> Artifact:
    # A pipe does not say how much will come.
    expected = os.fstat(source.fileno()).st_size
    digest, size = hashlib.sha256(), 0
    while piece := source.read(_PIECE):
        digest.update(piece)
        if target is not None:
            target.write(piece)
        size += len(piece)
        report(f"{name}: {step}", size, max(expected, size))
    return Artifact(name, Digest(digest.hexdigest()), size)
