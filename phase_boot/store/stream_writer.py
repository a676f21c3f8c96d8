"""Writing an artifact from its first byte to its last, hashed on the way.

The entry appears only after all bytes arrived and their sha256 is the signed one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from types import TracebackType
from typing import Self

from phase_boot.content.artifact import Artifact
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import ContentMismatch, NoSpace, StoreError, store_errors
from phase_boot.store.hashing import hash_into
from phase_boot.store.partials import STREAM, check_taken, open_slot, remove_leftovers
from phase_boot.store.quota import Quota


class StreamWriter:
    """Appends to an artifact, and resumes where an earlier writer stopped. One thread at a time.

    Only ``ContentStore.stream_writer`` makes one. ``offset`` is the number of bytes that are
    present, and so the position of the next ``write``.
    """

    def __init__(self, artifact: Artifact, disk: Disk, quota: Quota) -> None:
        """Open a partial file, reserve space for the rest and hash the bytes that it has.

        Raises:
            NoSpace: the artifact does not fit.
            StoreError: the disk failed.
        """
        self.artifact = artifact
        self.offset = 0
        self._disk = disk
        self._quota = quota
        self._hash = hashlib.sha256()
        self._fd, self._name = open_slot(disk, artifact, STREAM)
        try:
            self.offset = os.fstat(self._fd).st_size
            self._quota.reserve(self)
            with store_errors(f"read back what there is of {artifact.name}"):
                self.offset = hash_into(self._hash, self._fd)
        except BaseException:
            self.close()
            raise

    @property
    def missing(self) -> int:
        """Bytes that are still missing."""
        return self.artifact.size - self.offset

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``. After an error the writer is closed.

        Raises:
            ContentMismatch: more than the size of the artifact; the partial file was removed.
            NoSpace: the disk is full and nothing can be evicted; the partial file is kept.
            StoreError: the disk failed; the partial file is kept.
        """
        rest = memoryview(data).cast("B")
        if len(rest) > self.missing:
            raise self._discard(f"more than its {self.artifact.size} bytes arrived")
        try:
            while rest:
                taken = self._append(rest)
                self._hash.update(rest[:taken])
                self.offset += taken
                rest = rest[taken:]
        except BaseException:
            self.close()
            raise

    def commit(self) -> None:
        """Publish the artifact as an entry, durably. The writer is closed in any case.

        Raises:
            ContentMismatch: not the signed size or sha256; the partial file was removed.
            StoreError: the disk failed; the partial file is kept.
        """
        if self.missing:
            raise self._discard(f"only {self.offset} of its {self.artifact.size} bytes arrived")
        if self._hash.hexdigest() != self.artifact.digest.hex:
            raise self._discard("its bytes have another sha256")
        try:
            self._disk.publish(self._descriptor(), self._name, self.artifact.digest.hex)
        finally:
            self.close()
        remove_leftovers(self._disk, self.artifact)

    def identity(self) -> tuple[int, int]:
        """Return the device and inode of the file that is being written."""
        return identity(self._descriptor())

    def close(self) -> None:
        """Stop and keep the partial file for the next writer; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self._quota.release(self)

    def __del__(self) -> None:
        """Close the descriptor of an unreferenced writer, as after a cancelled ``to_thread``.

        The reservation ends by itself; taking its lock here could deadlock.
        """
        with contextlib.suppress(AttributeError, OSError):
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, data: memoryview) -> int:
        evicted = self._quota.evictions(self)
        while True:
            try:
                taken = self._disk.write(self._descriptor(), data)
            except NoSpace:
                if not any(evicted):
                    raise
                continue
            check_taken(taken, len(data))
            return taken

    def _descriptor(self) -> int:
        if self._fd < 0:
            raise ValueError(f"the writer of {self.artifact.name} is closed")
        return self._fd

    def _discard(self, reason: str) -> ContentMismatch:
        self._descriptor()
        self.close()
        # A file that cannot be removed now is detected later by its hash.
        with contextlib.suppress(StoreError):
            self._disk.remove(Folder.PARTIALS, self._name)
        return ContentMismatch(
            f"What arrived as {self.artifact.name} is not what was signed ({reason}), "
            "so it was dropped: try another source."
        )


def identity(fd: int) -> tuple[int, int]:
    """Return the device and inode of the open file ``fd``."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
