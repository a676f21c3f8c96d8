"""Reading input files into a SITE: one pass copies, hashes and chunks.

The copy is hashed, so the published bytes are the hashed ones even if the input is edited
meanwhile. If the file system can share blocks (FICLONE), no byte is written, and the pass reads the
clone.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

from phase_boot.console.progress import Report
from phase_boot.content.artifact import Artifact
from phase_boot.content.dag_builder import FileDag
from phase_boot.content.digest import Digest
from phase_boot.publish.chunking import load_chunker

FICLONE: Final = 0x40049409
"""The ioctl of linux/fs.h that shares the blocks of another file; Python 3.11 lacks it."""
_BLOCK: Final = 1 << 20
# Errors of kernels, file systems and system call filters without block sharing.
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
"""Makes the second open file share the blocks of the first, or raises OSError."""


@dataclass(frozen=True, slots=True)
class Content:
    """The facts of a file that one pass determines."""

    artifact: Artifact
    dag: FileDag | None
    """The DAG over its chunks; None for a pipe, as its size selects the chunk sizes."""


def clone(source: int, target: int) -> None:
    """Make an empty file share all blocks of another one; raise OSError if that is impossible."""
    fcntl.ioctl(target, FICLONE, source)


def copy(name: str, source: BinaryIO, target: BinaryIO, share: Clone, report: Report) -> Content:
    """Fill ``target`` with ``source``, sharing blocks if possible, and return its content.

    ``target`` is empty, and open for reading too.

    Raises:
        OSError: a file cannot be read or written.
        PublishError: numpy is missing.
    """
    if not is_plain(source):
        reader = _Reader(name, source, target, report, "copy")
        return Content(reader.finish(), None)
    if _shared(source, target, share):
        return _chunked(_Reader(name, target, None, report, "check"))
    return _chunked(_Reader(name, source, target, report, "copy"))


def hash_file(name: str, file: BinaryIO, report: Report) -> Artifact:
    """Read an open file to its end and return it as the artifact ``name``."""
    return _Reader(name, file, None, report, "check").finish()


def is_plain(file: BinaryIO) -> bool:
    """Return whether an open file is a regular file."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _shared(source: BinaryIO, target: BinaryIO, share: Clone) -> bool:
    try:
        share(source.fileno(), target.fileno())
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return False
    return True


def _chunked(reader: _Reader) -> Content:
    """Read a regular file once, and determine its hash and chunks."""
    if not reader.expected:
        return Content(reader.finish(), None)
    dag = load_chunker().build(reader, reader.expected)
    artifact = reader.finish()
    # The size selects the chunk sizes, so a file that grew or shrank meanwhile has other chunks.
    return Content(artifact, dag if artifact.size == reader.expected else None)


class _Reader:
    """Reads a file, hashes and copies it, and reports the progress."""

    def __init__(
        self, name: str, file: BinaryIO, target: BinaryIO | None, report: Report, step: str
    ) -> None:
        self.expected = os.fstat(file.fileno()).st_size
        """Size of the file when reading began; None for a pipe."""
        self._name = name
        self._file = file
        self._target = target
        self._report = report
        self._step = step
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` more of the expected bytes; empty after the last one."""
        return self._take(min(size, self.expected - self._size))

    def finish(self) -> Artifact:
        """Read to the end of the file, and return all of it as an artifact."""
        while self._take(_BLOCK):
            pass
        return Artifact(self._name, Digest(self._hash.hexdigest()), self._size)

    def _take(self, size: int) -> bytes:
        if not (data := self._file.read(size)):
            return data
        self._hash.update(data)
        if self._target is not None:
            self._target.write(data)
        self._size += len(data)
        self._report(f"{self._name}: {self._step}", self._size, max(self.expected, self._size))
        return data
