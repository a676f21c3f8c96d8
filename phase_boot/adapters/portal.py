"""Telling a captive portal by its answer: the network itself answers, until somebody signs in.

Only over plain HTTP: whoever can show a certificate for the name that was asked is that server.
"""

from __future__ import annotations

from typing import Final

from phase_boot.console.lines import printable
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from phase_boot.ports.finder import host_of

SIGN_IN: Final = 511
"""Network Authentication Required (RFC 6585)."""
REDIRECTS: Final = range(300, 400)
SHOWN: Final = 120
"""So much of where it sends us is told, in characters."""


def redirected(url: str, status: int, location: str | None) -> FetchFailed:
    """Return what an answer that is no success says: a portal, or a plain redirect."""
    if url.startswith("http://"):
        if status == SIGN_IN:
            return Intercepted(f"it asks for a sign-in (HTTP {SIGN_IN})")
        if location and "://" in location and host_of(location) != host_of(url):
            return Intercepted(f"it sent us to {printable(location)[:SHOWN]}")
    return FetchFailed(f"it redirects elsewhere (HTTP {status})", again=False)


def check_document(url: str, kind: str, body: bytes) -> None:
    """Refuse a web page where a document was asked for.

    Raises:
        Intercepted: it is one.
    """
    page = kind.startswith("text/html") or body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    if page and url.startswith("http://"):
        raise Intercepted("it answered with a web page")
