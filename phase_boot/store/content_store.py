"""The content-addressed store of artifacts, each under the sha256 of its bytes.

Only this module makes a ``VerifiedFile``, so that the type is the evidence: its bytes were hashed
through the descriptor that it holds, and no later change of a path can exchange them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Final, Self

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import Corrupt, DiskFailed, StoreError
from phase_boot.store.hashing import hash_into
from phase_boot.store.local_reuse import ReusableEntry, reusable_entries, reusable_nodes, save_index
from phase_boot.store.quota import Quota
from phase_boot.store.stream_writer import StreamWriter, identity

_SEAL: Final = object()


class VerifiedFile:
    """An open artifact whose bytes were hashed through this descriptor.

    Only a ``ContentStore`` makes one. While it is open the entry is not evicted.
    """

    __slots__ = ("_fd", "artifact")

    def __init__(self, artifact: Artifact, fd: int, *, seal: object = None) -> None:
        if seal is not _SEAL:
            raise TypeError("only phase_boot.store.content_store makes a VerifiedFile")
        self.artifact = artifact
        self._fd = fd

    def fileno(self) -> int:
        """Return the read-only descriptor; raise ValueError once it is closed."""
        if self._fd < 0:
            raise ValueError(f"{self.artifact.name} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether the descriptor was closed."""
        return self._fd < 0

    def read(self, size: int, offset: int = 0) -> bytes:
        """Return at most ``size`` bytes from ``offset``; raise ValueError once it is closed."""
        return os.pread(self.fileno(), size, offset)

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Close the descriptor of an unreferenced file, as after a cancelled ``to_thread``."""
        with contextlib.suppress(AttributeError, OSError):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class ContentStore:
    """Artifacts by their sha256 on a ``Disk``, of at most ``bound`` bytes together.

    All methods block and may be called from several threads, and several processes may share a
    disk. Errors are ``StoreError``.
    """

    def __init__(self, disk: Disk, *, bound: int, pinned: Iterable[Digest] = ()) -> None:
        """Use ``disk``; all files of the store together may have ``bound`` bytes."""
        self._disk = disk
        self._quota = Quota(disk, bound=bound, pinned=pinned)

    def pin(self, *digests: Digest) -> None:
        """Never evict these while this object is used."""
        self._quota.pin(digests)

    def has(self, artifact: Artifact) -> bool:
        """Return whether there is an entry of this name and size; its bytes are not read."""
        return any(
            item.name == artifact.digest.hex and item.size == artifact.size
            for item in self._disk.items(Folder.ENTRIES)
        )

    def is_empty(self) -> bool:
        """Return whether there is no entry."""
        return not self._disk.items(Folder.ENTRIES)

    def open(self, artifact: Artifact) -> VerifiedFile:
        """Hash the whole entry and return it with the descriptor that was hashed.

        Raises:
            NotStored: there is no such entry.
            Corrupt: it has other bytes, or is no plain file. It was quarantined.
            StoreError: the disk failed.
        """
        try:
            fd = self._disk.open(Folder.ENTRIES, artifact.digest.hex)
        except DiskFailed as error:
            raise self._quarantine(artifact, str(error).rstrip(".")) from error
        try:
            reason = _mismatch(fd, artifact)
            if reason is None:
                return VerifiedFile(artifact, fd, seal=_SEAL)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        raise self._quarantine(artifact, reason)

    def stream_writer(self, artifact: Artifact) -> StreamWriter:
        """Reserve space for an artifact and return the writer that appends to it.

        Raises:
            NoSpace: it does not fit, even after evicting all that may be.
            StoreError: the disk failed.
        """
        return StreamWriter(artifact, self._disk, self._quota)

    def chunk_writer(self, artifact: Artifact, chunks: ChunkList) -> ChunkWriter:
        """Reserve space for an artifact and return the writer of its missing chunks.

        Raises:
            ContentMismatch: the chunks have another total size than the artifact.
            NoSpace: it does not fit, even after evicting all that may be.
            StoreError: the disk failed.
        """
        return ChunkWriter(artifact, chunks, self._disk, self._quota)

    def commit(self, writer: StreamWriter | ChunkWriter) -> VerifiedFile:
        """Publish the artifact of ``writer`` and return it without a second read.

        Its bytes were hashed while they were written to the returned file, or were read back from
        it. If the entry is another file by now, that one is hashed as by ``open``.

        Raises:
            ContentMismatch: not the signed size or sha256; the partial file was removed.
            StoreError: the disk failed.
        """
        artifact, written = writer.artifact, writer.identity()
        writer.commit()
        fd = self._disk.open(Folder.ENTRIES, artifact.digest.hex)
        if identity(fd) == written:
            return VerifiedFile(artifact, fd, seal=_SEAL)
        os.close(fd)
        return self.open(artifact)

    def save_index(self, artifact: Artifact, root: Cid, car: Iterable[bytes]) -> None:
        """Store the DAG nodes over the chunks of an entry, for later versions of it.

        Raises:
            StoreError: the disk failed, or no space is left for them.
        """
        save_index(self._disk, self._quota, artifact, root, car)

    def reusable(self, artifact: Artifact) -> Iterator[ReusableEntry]:
        """Yield the other entries whose chunks are known, the most recently used first.

        Each is open until the next one is requested. The nodes are verified and the bytes of the
        entry are not: the caller hashes what it copies.
        """
        return reusable_entries(self._disk, artifact)

    def reusable_nodes(self, artifact: Artifact) -> Iterator[Mapping[Cid, bytes]]:
        """Yield the nodes over the chunks of those entries by CID. All of them are verified."""
        return reusable_nodes(self._disk, artifact)

    def _quarantine(self, artifact: Artifact, reason: str) -> Corrupt:
        sentence = f"The stored {artifact.name} {artifact.digest} is not what was signed ({reason})"
        try:
            self._disk.quarantine(artifact.digest.hex)
        except StoreError as error:
            return Corrupt(f"{sentence} and could not be set aside, so fetch it elsewhere. {error}")
        return Corrupt(f"{sentence} and was set aside in {Folder.CORRUPT}/, so fetch it again.")


def _mismatch(fd: int, artifact: Artifact) -> str | None:
    """Return how the file differs from the artifact, or None if it does not."""
    size = os.fstat(fd).st_size
    if size != artifact.size:
        return f"it has {size} bytes instead of {artifact.size}"
    digest = hashlib.sha256()
    try:
        hash_into(digest, fd)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None if digest.hexdigest() == artifact.digest.hex else "its bytes have another sha256"
