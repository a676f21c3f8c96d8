"""Port of the HTTP client: reads documents, files and byte ranges by their URLs.

What a server sends is untrusted. A fetcher bounds how much it reads and how far away the server may
be; the caller checks hashes and signatures.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from policies.model import Reach

Buffer: TypeAlias = bytes | bytearray
"""Consecutive bytes of a response body. The receiver owns it and may change it."""

STALL_SECONDS: Final = 15
"""Time without a byte after which a source counts as stalled."""
MAX_RETRY_AFTER_SECONDS: Final = 300.0
"""Upper bound of Retry-After; a longer pause counts as this one."""


class FetchFailed(Exception):
    """The source did not deliver; the text is the reason.

    Attributes:
        retryable: whether another request to the same source may succeed.
        retry_after: seconds that the source asked to wait (Retry-After, RFC 9110 section 10.2.3),
            from 0 to `MAX_RETRY_AFTER_SECONDS`; None if it named no pause.
    """

    def __init__(self, reason: str, *, retryable: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retryable = retryable
        self.retry_after = retry_after
        if retry_after is not None:
            # In this order: a comparison with NaN is false, so that NaN counts as the longest.
            bounded = min(MAX_RETRY_AFTER_SECONDS, retry_after)
            self.retry_after = max(0.0, bounded)


class Intercepted(FetchFailed):
    """The network responded in place of the source, as a captive portal does; the text says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retryable=False)


class RangesUnsupported(FetchFailed):
    """A byte range was requested, and the source sends only whole files."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retryable=False)


@dataclass(frozen=True, slots=True)
class PassedBody:
    """The rest of a response body, with the connection that it is read from.

    Attributes:
        came: bytes of the body that were read already.
        left: number of bytes that are still to be read from ``connection``.
        connection: carries nothing after the body; the receiver closes it.
    """

    came: bytes
    left: int
    connection: socket.socket


def ignore_redirect(_target: str) -> None:
    """Ignore a redirect."""


class ResponseBody(Protocol):
    """The bytes of a response, in order; an asynchronous generator of them is one.

    The caller closes it with `contextlib.aclosing`.
    """

    def __aiter__(self) -> AsyncIterator[Buffer]:
        """Return itself."""

    def __anext__(self) -> Awaitable[Buffer]:
        """Return the next bytes."""

    def aclose(self) -> Awaitable[None]:
        """Cancel the request, if it runs."""


class Fetcher(Protocol):
    """Reads URLs. It never returns more bytes than the caller requested.

    A request follows at most ``redirects`` redirects, by the rules of docs/adr/0011-redirects.md.
    With `Reach.LAN` no packet leaves the networks of this machine's own addresses.
    """

    async def read(
        self,
        url: str,
        *,
        limit: int,
        reach: Reach,
        redirects: int = 0,
        on_redirect: Callable[[str], None] = ignore_redirect,
    ) -> bytes:
        """Return a small document; ``on_redirect`` gets each redirect target on another host.

        Raises:
            FetchFailed: the document is missing, larger than ``limit`` bytes, too late, or beyond
                ``reach``.
            Intercepted: the network answered instead of the source.
        """

    def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> ResponseBody:
        """Return all bytes of a file of ``size`` bytes from ``offset`` to its end.

        Raises:
            FetchFailed: the source ended early, sent another range, stalled, or is beyond
                ``reach``.
        """

    def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> ResponseBody:
        """Return ``length`` bytes of a file from ``offset`` on; fewer only at the end of the file.

        Raises:
            FetchFailed: the source broke off, sent another range, stalled, or is beyond ``reach``.
            RangesUnsupported: the source sends only whole files.
        """
