"""The place where artifacts are kept: the Cache partition, or memory."""

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
        cas: the store.
        notebook: what else is remembered in the same place.
        persistent: whether the target OS can find it again on the Cache partition.
        note: why it is in memory although the policy allows Cache, if so.
        partition: the Cache partition that it is on, if it is on one.
    """

    cas: ContentStore
    state_files: StateFiles
    persistent: bool
    note: str | None = None
    partition: CachePartition | None = None


class StoreOpener(Protocol):
    """Opens the store that the policy allows, and gives the partition back."""

    async def open(self, *, persistent: bool, bound: int) -> OpenStore:
        """Return the store, at most ``bound`` bytes large; in memory if Cache cannot be used.

        Args:
            persistent: False means that Cache must not even be mounted (Private).
            bound: bytes of artifacts to keep.

        Raises:
            CannotStore: there is not even memory for it.
        """

    async def release(self) -> None:
        """Unmount what was mounted, so that the jump leaves a clean filesystem."""
