"""Backend for artifacts that are still being downloaded: serves their verified pieces."""

from __future__ import annotations

import json
import mmap
import os
from array import array
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.content.pieces import encode_bitfield, piece_count
from phase_boot.ports.peer_sharing import OFFSET_TYPE, SharedArtifact
from phase_boot.provider.backends.backend import OfferedVersion, ServedFile, artifact_file
from phase_boot.store.layout import read_entry_path

HAVE_PREFIX: Final = "have/"
"""Path prefix before a DAG root: returns the bitfield of its pieces."""


@dataclass(frozen=True, slots=True)
class _SharedFile:
    """An open file, its piece offsets, and the shared memory that holds its bitfield."""

    share: SharedArtifact
    file: int
    piece_offsets: array[int]
    bitfield: mmap.mmap

    @property
    def count(self) -> int:
        return len(self.piece_offsets) - 1

    @property
    def have(self) -> int:
        start = len(self.piece_offsets) * self.piece_offsets.itemsize
        found = int.from_bytes(self.bitfield[start : start + -(-self.count // 8)], "little")
        return found & ((1 << self.count) - 1)

    def has_range(self, start: int, count: int) -> bool:
        """Return whether all pieces of this range are verified."""
        first = bisect_right(self.piece_offsets, start) - 1
        last = bisect_right(self.piece_offsets, start + count - 1) - 1
        needed = (1 << (last + 1)) - (1 << max(first, 0))
        return first >= 0 and last < self.count and not needed & ~self.have

    def close(self) -> None:
        self.bitfield.close()
        os.close(self.file)


class PartialBackend:
    """Implements `backend.Backend`, and part of `ports.peer_sharing.PeerResponder`.

    The downloading process passes read-only descriptors. No file is opened by name.
    """

    def __init__(self) -> None:
        """Begin without shared files."""
        self._shared: dict[Digest, _SharedFile] = {}
        self._roots: dict[str, Digest] = {}

    def share(self, share: SharedArtifact, file: int, bitfield: int) -> None:
        """Serve the marked pieces of a file; takes ownership of both descriptors.

        Raises:
            ValueError: the memory is too small for the offsets.
        """
        piece_offsets = array(OFFSET_TYPE)
        try:
            table_bytes = (piece_count(share.size) + 1) * piece_offsets.itemsize
            memory = mmap.mmap(bitfield, 0, access=mmap.ACCESS_READ)
            piece_offsets.frombytes(memory[:table_bytes])
        except BaseException:
            os.close(file)
            raise
        finally:
            os.close(bitfield)
        previous = self._shared.pop(share.digest, None)
        if previous is not None:
            previous.close()
        self._shared[share.digest] = _SharedFile(share, file, piece_offsets, memory)
        self._roots[f"{HAVE_PREFIX}{share.root}"] = share.digest

    def clear(self) -> None:
        """Stop sharing; requests in progress run to their end."""
        for shared in self._shared.values():
            shared.close()
        self._shared.clear()
        self._roots.clear()

    def open(self, path: str) -> ServedFile | None:
        """Open a shared artifact, or the document with its bitfield."""
        shared = self._shared.get(self._roots[path]) if path in self._roots else None
        if shared is not None:
            return _bitfield_file(shared)
        digest = read_entry_path(path)
        shared = self._shared.get(digest) if digest is not None else None
        if shared is None:
            return None
        file = os.fdopen(os.dup(shared.file), "rb")
        return replace(artifact_file(file, shared.share.digest), has_range=shared.has_range)

    def offers(self) -> frozenset[OfferedVersion]:
        """Return nothing: incomplete versions are not announced."""
        return frozenset()

    def dags(self) -> Mapping[Cid, Digest]:
        """Return nothing: the gateway serves no incomplete artifact."""
        return {}


def _bitfield_file(shared: _SharedFile) -> ServedFile:
    text = encode_bitfield(shared.have, shared.count)
    body = json.dumps({"have": text}).encode() + b"\n"
    return ServedFile(BytesIO(body), len(body), f'"{text}"', "application/json", "no-cache")
