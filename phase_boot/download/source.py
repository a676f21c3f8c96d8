"""Interface of a source: a server that may have an artifact or some of its chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from phase_boot.ports.fetcher import Buffer


class Source(Protocol):
    """Sends bytes of one artifact. Nothing that it sends is believed."""

    @property
    def name(self) -> str:
        """The base URL, by which the journal and the list of liars know it."""

    @property
    def have(self) -> bytes | bytearray | None:
        """One byte for each chunk, 1 if it says that it has it; None says that it has all."""

    def start_chunk(self) -> int:
        """Return the chunk from which on it is asked, where it has it and it is missing."""

    def read(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield ``length`` bytes from ``offset`` on.

        Raises:
            FetchFailed: it does not, or not all of them.
        """
