"""Writing an artifact from chunks in any order, each verified before it counts as present.

A restart needs no record of progress: it hashes what the partial file has. The whole artifact is
hashed as well before it becomes an entry, because the list of chunks might be of another file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import ContentMismatch, DiskFailed, NoSpace, StoreError, store_errors
from phase_boot.store.partials import CHUNKS, check_taken, open_slot, remove_leftovers
from phase_boot.store.quota import Quota
from phase_boot.store.stream_writer import identity

_BUFFER: Final = 1 << 18
_COPY_BYTES: Final = 1 << 22
"""Bytes that are copied before they are hashed, while they are still in the page cache."""
_PRESENT: Final = 1
_ROUNDS: Final = 16
"""Buffers that one call of ``hash_more`` hashes."""
_NO_MORE_DATA: Final = errno.ENXIO


class ChunkWriter:
    """Writes the missing chunks of an artifact, and resumes where an earlier writer stopped.

    Only ``ContentStore.chunk_writer`` makes one. One thread at a time, but for ``hash_more`` and
    ``read``, which may run beside any other method.
    """

    def __init__(self, artifact: Artifact, chunks: ChunkList, disk: Disk, quota: Quota) -> None:
        """Open a partial file, reserve space for the rest and find the chunks that it has.

        Raises:
            ContentMismatch: the chunks have another total size than the artifact.
            NoSpace: the artifact does not fit.
            StoreError: the disk failed.
        """
        if chunks.size != artifact.size:
            raise ContentMismatch(
                f"The chunks of {artifact.name} have {chunks.size} bytes, and {artifact.size} were "
                "signed: fetch it as a whole."
            )
        self.artifact = artifact
        self.chunks = chunks
        self.bytes_present = 0
        """Bytes of the chunks that are present."""
        self.have = bytearray(chunks.count)
        """A mark for each chunk: 1 if it is present."""
        self._disk = disk
        self._quota = quota
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._buffer = memoryview(bytearray(_BUFFER))
        self._prefix = 0
        """All chunks before this one are present."""
        self._reserved = 0
        self._fd, self._name = open_slot(disk, artifact, CHUNKS)
        try:
            self._reserved = os.fstat(self._fd).st_size
            quota.reserve(self)
            self._recover()
            self._reserve()
        except BaseException:
            self.close()
            raise

    @property
    def missing(self) -> int:
        """Bytes for which the disk has not allocated space yet."""
        return self.artifact.size - self._reserved

    @property
    def complete(self) -> bool:
        """Whether every chunk is present."""
        return self.bytes_present == self.artifact.size

    def next_missing(self, number: int) -> int:
        """Return the first missing chunk from ``number`` on, or the number of chunks."""
        found = self.have.find(0, number)
        return self.chunks.count if found < 0 else found

    def next_present(self, number: int) -> int:
        """Return the first present chunk from ``number`` on, or the number of chunks."""
        found = self.have.find(_PRESENT, number)
        return self.chunks.count if found < 0 else found

    def write_chunks(self, number: int, data: bytes | bytearray | memoryview) -> int:
        """Write the complete chunks in ``data``, from ``number`` on; return how many.

        Raises:
            ContentMismatch: a chunk has another sha256; those before it were written.
            NoSpace: the disk is full and nothing can be evicted.
            StoreError: the disk failed.
        """
        rest = memoryview(data).cast("B")
        count, end = self.chunks.verify_prefix(number, rest)
        last = number + count
        self._write_missing(number, last, rest[:end])
        if last < self.chunks.count and end + self.chunks.span(last, last + 1)[1] <= len(rest):
            raise ContentMismatch(
                f"A chunk of {self.artifact.name} has another sha256 than what was signed: "
                "try another source."
            )
        return count

    def copy_chunks(self, first: int, end: int, source: int, start: int) -> None:
        """Copy the chunks ``first`` to ``end`` from offset ``start`` of the open file ``source``.

        They are copied first, so that the filesystem can share their blocks, and then hashed in
        this file. A chunk counts as present by the bytes of this file only, even if the source
        changes meanwhile. None of the chunks may be present already. Those that are wrong, or
        could not be copied, stay missing.

        Raises:
            NoSpace: the disk is full and nothing can be evicted.
            StoreError: the copied bytes cannot be read back.
        """
        end = min(end, self.next_present(first))
        base, _ = self.chunks.span(first, first)
        while first < end:
            offset, _ = self.chunks.span(first, first)
            last = self.chunks.chunk_at(min(offset + _COPY_BYTES, self.artifact.size) - 1)
            after = min(max(last, first + 1), end)
            self._copy(source, start + offset - base, offset, self.chunks.span(first, after)[1])
            with store_errors(f"read back what there is of {self.artifact.name}"):
                while first < after:
                    first = self._recover_run(first, after)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of present chunks; fewer, or none, where a chunk is missing."""
        end = min(offset + length, self.artifact.size)
        if not 0 <= offset < end or self._fd < 0:
            return b""
        missing = self.next_missing(self.chunks.chunk_at(offset))
        held, _ = self.chunks.span(missing, missing)
        return os.pread(self._fd, max(0, min(end, held) - offset), offset)

    def hash_more(self) -> bool:
        """Hash some more of the present chunks at the start; return whether more can be hashed.

        Raises:
            StoreError: the disk cannot be read.
        """
        self._prefix = self.next_missing(self._prefix)
        end, _ = self.chunks.span(self._prefix, self._prefix)
        for _ in range(_ROUNDS):
            wanted = min(end - self._hashed, _BUFFER)
            if not wanted:
                return False
            with store_errors(f"read back what there is of {self.artifact.name}"):
                # One buffer for all reads: memory is short where this runs.
                taken = os.preadv(self._descriptor(), [self._buffer[:wanted]], self._hashed)
            if not taken:
                raise DiskFailed("The disk has lost what it was given, so use another one.")
            self._hash.update(self._buffer[:taken])
            self._hashed += taken
        return self._hashed < end

    def fileno(self) -> int:
        """Return the descriptor of the file that is being written; raise ValueError once closed."""
        return self._descriptor()

    def identity(self) -> tuple[int, int]:
        """Return the device and inode of the file that is being written."""
        return identity(self._descriptor())

    def commit(self) -> None:
        """Publish the artifact as an entry, durably. The writer is closed in any case.

        Raises:
            ContentMismatch: chunks are missing, or the whole has another sha256 than signed.
            StoreError: the disk failed; the partial file is kept.
        """
        try:
            if not self.complete:
                raise ContentMismatch(f"Chunks of {self.artifact.name} are missing: go on.")
            while self.hash_more():
                pass
            if self._hash.hexdigest() != self.artifact.digest.hex:
                raise self._diagnose()
            self._disk.publish(self._descriptor(), self._name, self.artifact.digest.hex)
        finally:
            self.close()
        remove_leftovers(self._disk, self.artifact)

    def close(self) -> None:
        """Stop and keep the partial file for the next writer; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self._quota.release(self)

    def __del__(self) -> None:
        """Close the descriptor of an unreferenced writer, as after a cancelled ``to_thread``."""
        with contextlib.suppress(AttributeError, OSError):
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _write_missing(self, first: int, end: int, data: memoryview) -> None:
        """Write verified chunks, except those that are present already."""
        base, _ = self.chunks.span(first, first)
        number = self.next_missing(first)
        while number < end:
            after = min(self.next_present(number), end)
            offset, length = self.chunks.span(number, after)
            part = data[offset - base : offset - base + length]
            self._write(part, offset)
            self._mark(number, after)
            number = self.next_missing(after)

    def _write(self, data: memoryview, at: int) -> None:
        fd = self._descriptor()
        self._write_fully(
            at, len(data), lambda done: self._disk.write_at(fd, data[done:], at + done)
        )

    def _copy(self, source: int, start: int, at: int, length: int) -> None:
        """Copy as much as can be copied; the hashes decide later which chunks are valid."""
        fd, copy = self._descriptor(), self._disk.copy
        try:
            self._write_fully(
                at, length, lambda done: copy(start + done, source, length - done, fd, at + done)
            )
        except NoSpace:
            raise
        except StoreError:
            # The chunks stay missing and are fetched; if our own file failed, writing reports it.
            return

    def _write_fully(self, at: int, length: int, some: Callable[[int], int]) -> None:
        """Call ``some`` until all bytes are written, and evict files while the disk is full."""
        evicted = self._quota.evictions(self)
        done = 0
        while done < length:
            try:
                taken = some(done)
            except NoSpace:
                if not any(evicted):
                    raise
                continue
            check_taken(taken, length - done)
            done += taken
            self._reserved = max(self._reserved, at + done)

    def _mark(self, first: int, end: int) -> None:
        self.have[first:end] = bytes([_PRESENT]) * (end - first)
        self.bytes_present += self.chunks.span(first, end)[1]

    def _reserve(self) -> None:
        evicted = self._quota.evictions(self)
        while self.missing:
            try:
                self._disk.reserve(self._descriptor(), self.artifact.size)
            except NoSpace:
                if not any(evicted):
                    raise
                continue
            self._reserved = max(self._reserved, os.fstat(self._descriptor()).st_size)
            # A disk that cannot allocate in advance reports nothing; a write then finds it full.
            return

    def _recover(self) -> None:
        """Hash every chunk that an earlier writer may have written; holes are skipped."""
        with store_errors(f"read back what there is of {self.artifact.name}"):
            number = 0
            while number < self.chunks.count:
                start, _ = self.chunks.span(number, number)
                data = _next_data(self._descriptor(), start)
                if data is None or data >= self.artifact.size:
                    return
                number = max(number, self.chunks.chunk_at(data))
                number = self._recover_run(number, self.chunks.count)

    def _recover_run(self, number: int, limit: int) -> int:
        """Hash about one buffer of chunks before ``limit``; return the number of the next chunk."""
        offset, _ = self.chunks.span(number, number)
        last = self.chunks.chunk_at(min(offset + _BUFFER, self.artifact.size) - 1)
        end = min(max(last, number + 1), limit)
        rest = memoryview(os.pread(self._descriptor(), self.chunks.span(number, end)[1], offset))
        while number < end:
            count, length = self.chunks.verify_prefix(number, rest)
            self._mark(number, number + count)
            number += count
            if number < end:
                rest = rest[length + self.chunks.span(number, number + 1)[1] :]
                number += 1
        return end

    def _diagnose(self) -> StoreError:
        """Find why the whole is wrong while all chunks are right: the disk or the list."""
        self.have[:], self.bytes_present = bytes(self.chunks.count), 0
        self._recover()
        if not self.complete:
            return DiskFailed("The disk has not kept what it was given, so use another one.")
        with contextlib.suppress(StoreError):
            self._discard()
        return ContentMismatch(
            f"The chunks of {self.artifact.name} make up something else than was signed: "
            "fetch it as a whole."
        )

    def _discard(self) -> None:
        self.close()
        self._disk.remove(Folder.PARTIALS, self._name)

    def _descriptor(self) -> int:
        if self._fd < 0:
            raise ValueError(f"the writer of {self.artifact.name} is closed")
        return self._fd


def _next_data(fd: int, start: int) -> int | None:
    """Return the offset of the first data from ``start`` on, or None in a hole up to the end."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == _NO_MORE_DATA:
            return None
        raise
