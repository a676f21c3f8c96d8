"""Port of the store of artifacts: on the Cache partition, or in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from phase_boot.handoff.document import CachePartition
from phase_boot.ports.state_files import StateFiles
from phase_boot.store.content_store import ContentStore


@dataclass(frozen=True, slots=True)
class OpenStore:
    """An opened store.

    Attributes:
        cas: the artifacts.
        state_files: small files that are kept in the same place.
        persistent: whether it is on disk, so that the started system can find the artifacts.
        note: the reason for which it is in memory although the policy allows Cache; else None.
        partition: its Cache partition; None if it is on none.
    """

    cas: ContentStore
    state_files: StateFiles
    persistent: bool
    note: str | None = None
    partition: CachePartition | None = None


class StoreOpener(Protocol):
    """Opens the store that the policy allows, and releases its partition."""

    async def open(self, *, persistent: bool, bound: int) -> OpenStore:
        """Return a store of at most ``bound`` bytes, in memory if Cache cannot be used.

        Args:
            persistent: False in Private mode, in which Cache is not even mounted.
            bound: largest number of bytes of all artifacts.

        Raises:
            CannotStore: a store in memory is not possible either.
        """

    async def release(self) -> None:
        """Unmount the Cache partition, so that the jump leaves a clean filesystem."""
