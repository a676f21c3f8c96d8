"""What somebody who is still fetching can hand on: the stretches of artifacts that are verified."""

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
from phase_boot.content.pieces import as_text, stretch_count
from phase_boot.ports.neighbours import CUT, Share
from phase_boot.provider.files import Offer, Served, served_entry
from phase_boot.store.layout import read_entry_path

HAVE: Final = "have/"
"""The path before a DAG's root that says which stretches of it are held."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An open file, where its stretches begin, and the memory in which they are marked."""

    share: Share
    file: int
    cuts: array[int]
    marks: mmap.mmap

    @property
    def count(self) -> int:
        return len(self.cuts) - 1

    @property
    def held(self) -> int:
        start = len(self.cuts) * self.cuts.itemsize
        found = int.from_bytes(self.marks[start : start + -(-self.count // 8)], "little")
        return found & ((1 << self.count) - 1)

    def holds(self, start: int, count: int) -> bool:
        """Say whether these bytes were verified."""
        first = bisect_right(self.cuts, start) - 1
        last = bisect_right(self.cuts, start + count - 1) - 1
        wanted = (1 << (last + 1)) - (1 << max(first, 0))
        return first >= 0 and last < self.count and not wanted & ~self.held

    def close(self) -> None:
        self.marks.close()
        os.close(self.file)


class PartialGoods:
    """Implements `provider.files.Goods`, and `ports.neighbours.Hand`, for parts of artifacts.

    It is given read-only descriptors by whoever fetches. Nothing is looked up by a name.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._parts: dict[Digest, _Part] = {}
        self._roots: dict[str, Digest] = {}

    def share(self, share: Share, file: int, marks: int) -> None:
        """Hand on what is marked of a file from now on; both descriptors are ours from here on.

        Raises:
            ValueError: the memory is not as large as it has to be.
        """
        cuts = array(CUT)
        try:
            length = (stretch_count(share.size) + 1) * cuts.itemsize
            memory = mmap.mmap(marks, 0, access=mmap.ACCESS_READ)
            cuts.frombytes(memory[:length])
        except BaseException:
            os.close(file)
            raise
        finally:
            os.close(marks)
        earlier = self._parts.pop(share.digest, None)
        if earlier is not None:
            earlier.close()
        self._parts[share.digest] = _Part(share, file, cuts, memory)
        self._roots[f"{HAVE}{share.root}"] = share.digest

    def clear(self) -> None:
        """Hand on nothing any more; who is reading goes on to the end of what was asked."""
        for part in self._parts.values():
            part.close()
        self._parts.clear()
        self._roots.clear()

    def open(self, path: str) -> Served | None:
        """Open an artifact of which there is at least a part, or say which stretches are there."""
        told = self._parts.get(self._roots[path]) if path in self._roots else None
        if told is not None:
            return _served_marks(told)
        digest = read_entry_path(path)
        part = self._parts.get(digest) if digest is not None else None
        if part is None:
            return None
        file = os.fdopen(os.dup(part.file), "rb")
        return replace(served_entry(file, part.share.digest), holds=part.holds)

    def offers(self) -> frozenset[Offer]:
        """Return nothing: who still fetches announces no version."""
        return frozenset()

    def dags(self) -> Mapping[Cid, Digest]:
        """Return nothing: no block is cut out of a part."""
        return {}


def _served_marks(part: _Part) -> Served:
    text = as_text(part.held, part.count)
    body = json.dumps({"held": text}).encode() + b"\n"
    return Served(BytesIO(body), len(body), f'"{text}"', "application/json", "no-cache")
