"""Getting bytes from a URL."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from policies.model import Reach

Piece: TypeAlias = bytes | bytearray
"""Some bytes of an answer; whoever gets them owns them."""


MAX_RETRY_AFTER_SECONDS: Final = 300.0
"""The longest pause that a source may ask for; a longer one counts as this."""


class FetchFailed(Exception):
    """A source did not deliver; the text is the reason.

    Attributes:
        again: whether asking the same source once more may help.
        retry_after: seconds that the source asked to be left alone (Retry-After, RFC 9110
            section 10.2.3), from 0 to `MAX_RETRY_AFTER_SECONDS`; None if it asked for none.
    """

    def __init__(self, reason: str, *, again: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.again = again
        self.retry_after = retry_after
        if retry_after is not None:
            # In this order: a comparison with NaN is false, so that NaN counts as the longest.
            bounded = min(MAX_RETRY_AFTER_SECONDS, retry_after)
            self.retry_after = max(0.0, bounded)


class Intercepted(FetchFailed):
    """The network answered instead of the source, as a captive portal does; the text says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, again=False)


class OnlyWhole(FetchFailed):
    """The source sends a file only as a whole, and a part was asked for."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, again=False)


@dataclass(frozen=True, slots=True)
class Rest:
    """The bytes of an answer that are still to come over a connection.

    Attributes:
        came: bytes of the answer that were read already.
        left: how many more there are.
        connection: has nothing but these to say; whoever gets it closes it.
    """

    came: bytes
    left: int
    connection: socket.socket


def unmoved(_target: str) -> None:
    """Take no note of a redirect."""


class Fetcher(Protocol):
    """Reads URLs. It never hands out more than was asked for.

    A request follows at most ``redirects`` redirects, by the rules of docs/adr/0011-redirects.md.
    With `Reach.LAN` not one packet leaves the networks that our own addresses are in.
    """

    async def read(
        self,
        url: str,
        *,
        limit: int,
        reach: Reach,
        redirects: int = 0,
        moved: Callable[[str], None] = unmoved,
    ) -> bytes:
        """Return a small document; ``moved`` is told of each other host that it came over.

        Raises:
            FetchFailed: it is not there, larger than ``limit`` bytes, took too long, or lies
                beyond ``reach``.
            Intercepted: the network answered instead.
        """

    def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[Piece, None]:
        """Yield the bytes of an artifact of ``size`` bytes from ``offset`` on, all of them.

        Raises:
            FetchFailed: the source ended early, sent other bytes than asked for, stalled, or
                lies beyond ``reach``.
        """

    def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[Piece, None]:
        """Yield ``length`` bytes of a file from ``offset`` on, fewer only where the file ends.

        Raises:
            FetchFailed: the source broke off, sent other bytes than asked for, stalled, or lies
                beyond ``reach``.
            OnlyWhole: it knows no parts.
        """
