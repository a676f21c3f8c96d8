"""Getting bytes from a URL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol


class FetchFailed(Exception):
    """A source did not deliver; the text is the reason.

    Attributes:
        again: whether asking the same source once more may help.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Fetcher(Protocol):
    """Reads URLs. It follows no redirect and never hands out more than was asked for."""

    async def read(self, url: str, *, limit: int) -> bytes:
        """Return a small document.

        Raises:
            FetchFailed: it is not there, larger than ``limit`` bytes, or took too long.
        """

    def stream(self, url: str, *, offset: int, size: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an artifact of ``size`` bytes from ``offset`` on, all of them.

        Raises:
            FetchFailed: the source ended early, sent other bytes than asked for, or stalled.
        """
