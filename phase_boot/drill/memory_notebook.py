"""A notebook in memory, which can be told to refuse."""

from __future__ import annotations

from dataclasses import dataclass, field

from phase_boot.store.errors import StoreError


@dataclass
class MemoryNotebook:
    """Implements `ports.state_files.StateFiles`."""

    pages: dict[str, bytes] = field(default_factory=dict)
    refusal: StoreError | None = None
    """What every write and read comes to."""
    writes: int = 0
    """How often something was written."""

    def read(self, name: str, *, limit: int) -> bytes | None:
        if self.refusal is not None:
            raise self.refusal
        page = self.pages.get(name)
        return None if page is None else page[: limit + 1]

    def write(self, name: str, data: bytes) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.pages[name] = data
        self.writes += 1
