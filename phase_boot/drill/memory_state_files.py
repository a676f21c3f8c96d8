"""State files in memory, which can be made to fail."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from phase_boot.store.errors import StoreError


@dataclass
class MemoryStateFiles:
    """Implements `ports.state_files.StateFiles`."""

    files: dict[str, bytes] = field(default_factory=dict)
    refusal: StoreError | None = None
    """The error that every read and write raises."""
    writes: int = 0
    """Number of writes."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Return at once: no other process has these files."""
        return nullcontext()

    def read(self, name: str, *, limit: int) -> bytes | None:
        if self.refusal is not None:
            raise self.refusal
        data = self.files.get(name)
        return None if data is None else data[: limit + 1]

    def write(self, name: str, data: bytes) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.files[name] = data
        self.writes += 1
