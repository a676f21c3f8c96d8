"""The quota of a store: space is reserved before it is written, and made by evicting old files.

The least recently used file goes first. Pinned artifacts and those that are being written stay.
"""

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
    """A writer of an artifact, as the quota sees it."""

    @property
    def artifact(self) -> Artifact:
        """The artifact that is being written."""

    @property
    def missing(self) -> int:
        """Bytes for which no space is allocated yet."""


class Quota:
    """The space that a store may use on a disk."""

    def __init__(self, disk: Disk, *, bound: int, pinned: Iterable[Digest]) -> None:
        """Allow ``bound`` bytes for all files of the store together."""
        self._disk = disk
        self._bound = bound
        self._pinned = {digest.hex for digest in pinned}
        # Weak, so that a writer that was garbage-collected holds no reservation.
        self._reservations: WeakSet[Reservation] = WeakSet()
        self._lock = threading.Lock()

    def pin(self, digests: Iterable[Digest]) -> None:
        """Never evict these."""
        with self._lock:
            self._pinned.update(digest.hex for digest in digests)

    def reserve(self, reservation: Reservation) -> None:
        """Make space for what ``reservation`` misses; evict nothing if it cannot fit.

        Raises:
            NoSpace: it does not fit, even after evicting all that may be.
            StoreError: the disk failed.
        """
        with self._lock:
            items = self._items()
            victims = self._victims(items, reservation)
            coming = reservation.missing + sum(other.missing for other in self._reservations)
            excess = max(
                sum(item.size for item in items) + coming - self._bound,
                coming - self._disk.free_space(),
            )
            if excess > sum(victim.size for victim in victims):
                raise _full(reservation)
            for victim in victims:
                if excess <= 0:
                    break
                excess -= self._evict(victim)
            if excess > 0:
                raise _full(reservation)
            self._reservations.add(reservation)

    def evictions(self, reservation: Reservation) -> Iterator[bool]:
        """Evict one file at a time, because the disk is fuller than it reported.

        Yields whether that freed space. The candidates are listed once, so that the loop ends even
        on a disk that keeps files which it reports as removed.
        """
        with self._lock:
            victims = self._victims(self._items(), reservation)
        for victim in victims:
            with self._lock:
                won = self._evict(victim)
            yield won > 0

    def available(self) -> int:
        """Return how many bytes may still be written that are not reserved."""
        with self._lock:
            coming = sum(reservation.missing for reservation in self._reservations)
            held = sum(item.size for item in self._items())
            return min(self._bound - held, self._disk.free_space()) - coming

    def release(self, reservation: Reservation) -> None:
        """Drop a reservation: its bytes are on the disk, or will not be written."""
        with self._lock:
            self._reservations.discard(reservation)

    def _items(self) -> list[FileInfo]:
        return [item for folder in Folder for item in self._disk.items(folder)]

    def _victims(self, items: Iterable[FileInfo], reservation: Reservation) -> list[FileInfo]:
        """Return the files that may be evicted: corrupt ones first, then by last use."""
        needed = self._pinned | {r.artifact.digest.hex for r in (reservation, *self._reservations)}
        free = (i for i in items if i.folder is Folder.CORRUPT or i.name[:64] not in needed)
        return sorted(free, key=lambda item: (item.folder is not Folder.CORRUPT, item.used))

    def _evict(self, victim: FileInfo) -> int:
        """Remove a file with its index unless it is open; return the bytes that were freed."""
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


def _full(reservation: Reservation) -> NoSpace:
    return NoSpace(
        f"The store has no room for {reservation.missing} bytes of {reservation.artifact.name}, "
        "even without all that it may remove: use a larger stick, or boot without the cache."
    )
