"""Keeping a store within its bound, by removing what was not used for longest."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol
from weakref import WeakSet

from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.store.disk import Disk, FileInfo, Folder
from phase_boot.store.errors import Busy, NoSpace, NotStored


class Reservation(Protocol):
    """Somebody who is writing an artifact."""

    @property
    def artifact(self) -> Artifact:
        """What is being written."""

    @property
    def missing(self) -> int:
        """How many of its bytes are still to come."""


class Quota:
    """The bytes of a disk that a store may use: handed out before they are written."""

    def __init__(self, disk: Disk, *, bound: int, pinned: Iterable[Digest]) -> None:
        """Take the bytes that entries, partial and corrupt files may use together."""
        self._disk = disk
        self._bound = bound
        self._pinned = {digest.hex for digest in pinned}
        # Whoever forgets a writer has given up its claim.
        self._reservations: WeakSet[Reservation] = WeakSet()
        self._lock = threading.Lock()

    def pin(self, digests: Iterable[Digest]) -> None:
        """Never remove these."""
        with self._lock:
            self._pinned.update(digest.hex for digest in digests)

    def reserve(self, claim: Reservation) -> None:
        """Make room for what ``claim`` misses, removing nothing at all if it never fits.

        Raises:
            NoSpace: it does not fit, even after removing all that may be.
            StoreError: the disk failed.
        """
        with self._lock:
            items = self._items()
            victims = self._victims(items, claim)
            coming = claim.missing + sum(other.missing for other in self._reservations)
            excess = max(
                sum(item.size for item in items) + coming - self._bound,
                coming - self._disk.free_space(),
            )
            if excess > sum(victim.size for victim in victims):
                raise _full(claim)
            for victim in victims:
                if excess <= 0:
                    break
                excess -= self._evict(victim)
            if excess > 0:
                raise _full(claim)
            self._reservations.add(claim)

    def evictions(self, claim: Reservation) -> Iterator[bool]:
        """Remove one file at a time because the disk is fuller than it said.

        Yields whether it did. What may go is listed once: a disk that keeps what it says it has
        removed is not asked for ever.
        """
        with self._lock:
            victims = self._victims(self._items(), claim)
        for victim in victims:
            with self._lock:
                won = self._evict(victim)
            yield won > 0

    def available(self) -> int:
        """Return how many bytes may still be written that nobody has claimed."""
        with self._lock:
            coming = sum(claim.missing for claim in self._reservations)
            held = sum(item.size for item in self._items())
            return min(self._bound - held, self._disk.free_space()) - coming

    def release(self, claim: Reservation) -> None:
        """Forget a claim: its bytes are on the disk, or will not come."""
        with self._lock:
            self._reservations.discard(claim)

    def _items(self) -> list[FileInfo]:
        return [item for folder in Folder for item in self._disk.items(folder)]

    def _victims(self, items: Iterable[FileInfo], claim: Reservation) -> list[FileInfo]:
        """Return what may go, in the order in which it goes: corrupt first, then oldest use."""
        needed = self._pinned | {c.artifact.digest.hex for c in (claim, *self._reservations)}
        free = (i for i in items if i.folder is Folder.CORRUPT or i.name[:64] not in needed)
        return sorted(free, key=lambda item: (item.folder is not Folder.CORRUPT, item.used))

    def _evict(self, victim: FileInfo) -> int:
        """Remove a file unless somebody uses it, and what is kept about it; return its bytes."""
        try:
            self._disk.remove(victim.folder, victim.name)
        except Busy:
            return 0
        except NotStored:
            pass
        if victim.folder is Folder.ENTRIES:
            for index in self._disk.items(Folder.INDEXES):
                if index.name[:64] == victim.name:
                    with contextlib.suppress(NotStored, Busy):
                        self._disk.remove(Folder.INDEXES, index.name)
        return victim.size


def _full(claim: Reservation) -> NoSpace:
    return NoSpace(
        f"The store has no room for {claim.missing} bytes of {claim.artifact.name}, even without "
        "all that it may remove: use a larger stick, or boot without the cache."
    )
