"""An artifact that is put together from chunks, in any order: each is checked before it is kept."""

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
"""Bytes that are copied before they are hashed: they are in memory still."""
_PRESENT: Final = 1
_ROUNDS: Final = 16
"""Buffers that are hashed in one go."""
_NO_MORE_DATA: Final = errno.ENXIO


class ChunkWriter:
    """Takes the chunks of an artifact that are missing, and goes on where an earlier one stopped.

    Only ``ContentStore.chunk_writer`` makes one. One thread at a time, but for ``hash_more`` and
    ``read``, which may run beside any other method.
    """

    def __init__(self, artifact: Artifact, chunks: ChunkList, disk: Disk, room: Quota) -> None:
        """Take a partial file, make room for the rest and find out which chunks are there.

        Raises:
            ContentMismatch: the chunks are not as long as the artifact.
            NoSpace: it does not fit.
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
        """Bytes of the chunks that are here."""
        self.have = bytearray(chunks.count)
        """A mark for each chunk: 1 if it is here."""
        self._disk = disk
        self._quota = room
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._buffer = memoryview(bytearray(_BUFFER))
        self._prefix = 0
        """Up to, not with, this chunk all are here."""
        self._reserved = 0
        self._fd, self._name = open_slot(disk, artifact, CHUNKS)
        try:
            self._reserved = os.fstat(self._fd).st_size
            room.reserve(self)
            self._recover()
            self._reserve()
        except BaseException:
            self.close()
            raise

    @property
    def missing(self) -> int:
        """Bytes for which the disk has not set room aside yet."""
        return self.artifact.size - self._reserved

    @property
    def complete(self) -> bool:
        """Whether every chunk is here."""
        return self.bytes_present == self.artifact.size

    def next_missing(self, number: int) -> int:
        """Return the first chunk from ``number`` on that is not here, or how many there are."""
        found = self.have.find(0, number)
        return self.chunks.count if found < 0 else found

    def next_present(self, number: int) -> int:
        """Return the first chunk from ``number`` on that is here, or how many there are."""
        found = self.have.find(_PRESENT, number)
        return self.chunks.count if found < 0 else found

    def write_chunks(self, number: int, data: bytes | bytearray | memoryview) -> int:
        """Take chunks from ``number`` on, as many as ``data`` has whole; return how many.

        Raises:
            ContentMismatch: a chunk has another sha256; those before it are kept.
            NoSpace: and nothing is left to evict.
            StoreError: the disk failed.
        """
        rest = memoryview(data).cast("B")
        count, end = self.chunks.verified(number, rest)
        last = number + count
        self._write_missing(number, last, rest[:end])
        if last < self.chunks.count and end + self.chunks.span(last, last + 1)[1] <= len(rest):
            raise ContentMismatch(
                f"A chunk of {self.artifact.name} has another sha256 than what was signed: "
                "try another source."
            )
        return count

    def copy_chunks(self, first: int, end: int, source: int, start: int) -> None:
        """Take chunks from ``first`` up to ``end`` from ``start`` on in the open file ``source``.

        They are copied unread, as a filesystem can then share their blocks, and hashed where they
        have come to: so what counts as held is what this file has, whatever the source was, is by
        now, or was changed to in between. None of them may be held already. Those that are not
        right there, or could not be copied, stay missing.

        Raises:
            NoSpace: and nothing is left to evict.
            StoreError: what was copied cannot be read back.
        """
        end = min(end, self.next_present(first))
        base, _ = self.chunks.span(first, first)
        while first < end:
            offset, _ = self.chunks.span(first, first)
            last = self.chunks.at(min(offset + _COPY_BYTES, self.artifact.size) - 1)
            after = min(max(last, first + 1), end)
            self._copy(source, start + offset - base, offset, self.chunks.span(first, after)[1])
            with store_errors(f"read back what there is of {self.artifact.name}"):
                while first < after:
                    first = self._recover_run(first, after)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of chunks that are here; fewer, or none, where some are not."""
        end = min(offset + length, self.artifact.size)
        if not 0 <= offset < end or self._fd < 0:
            return b""
        missing = self.next_missing(self.chunks.at(offset))
        held, _ = self.chunks.span(missing, missing)
        return os.pread(self._fd, max(0, min(end, held) - offset), offset)

    def hash_more(self) -> bool:
        """Hash on, a few bytes from the first chunk on; say whether there are more.

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
                # Into the same place each time: memory is short where this runs.
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
        """Return which file is being written: its device and inode."""
        return identity(self._descriptor())

    def commit(self) -> None:
        """Make the artifact an entry, durably. It is closed, whatever comes out.

        Raises:
            ContentMismatch: some are missing, or the chunks make up something else than was signed.
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
        """Stop writing and keep what is there for the next one; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self._quota.release(self)

    def __del__(self) -> None:
        """Close what nobody holds any more, such as what a thread returned to a cancelled task."""
        with contextlib.suppress(AttributeError, OSError):
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _write_missing(self, first: int, end: int, data: memoryview) -> None:
        """Write verified chunks, of which some may be here already."""
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
        """Copy what can be copied: hashes tell what that was."""
        fd, copy = self._descriptor(), self._disk.copy
        try:
            self._write_fully(
                at, length, lambda done: copy(start + done, source, length - done, fd, at + done)
            )
        except NoSpace:
            raise
        except StoreError:
            # It is fetched. If it is our own file that failed, that will be said then.
            return

    def _write_fully(self, at: int, length: int, some: Callable[[int], int]) -> None:
        """Have ``some`` put bytes there until all are, and make room where the disk is full."""
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
            # A disk that cannot set room aside says nothing: then writing finds out.
            return

    def _recover(self) -> None:
        """Hash every chunk that an earlier run may have written; a hole cannot be one."""
        with store_errors(f"read back what there is of {self.artifact.name}"):
            number = 0
            while number < self.chunks.count:
                start, _ = self.chunks.span(number, number)
                data = _next_data(self._descriptor(), start)
                if data is None or data >= self.artifact.size:
                    return
                number = max(number, self.chunks.at(data))
                number = self._recover_run(number, self.chunks.count)

    def _recover_run(self, number: int, most: int) -> int:
        """Look at about a buffer full of chunks before ``most``; return the number of the next."""
        offset, _ = self.chunks.span(number, number)
        last = self.chunks.at(min(offset + _BUFFER, self.artifact.size) - 1)
        end = min(max(last, number + 1), most)
        rest = memoryview(os.pread(self._descriptor(), self.chunks.span(number, end)[1], offset))
        while number < end:
            count, length = self.chunks.verified(number, rest)
            self._mark(number, number + count)
            number += count
            if number < end:
                rest = rest[length + self.chunks.span(number, number + 1)[1] :]
                number += 1
        return end

    def _diagnose(self) -> StoreError:
        """Say whose fault it is that all chunks are right and their whole is not."""
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
            raise ValueError(f"the mosaic of {self.artifact.name} is closed")
        return self._fd


def _next_data(fd: int, start: int) -> int | None:
    """Return where from ``start`` on something was written; None if nothing was."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == _NO_MORE_DATA:
            return None
        raise
