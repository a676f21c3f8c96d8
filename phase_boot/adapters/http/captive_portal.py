"""Detects captive portals, which answer in place of the server until the user signs in.

Only plain HTTP is checked: with HTTPS the certificate proves that the server itself answers.
"""

from __future__ import annotations

from typing import Final

from phase_boot.ports.fetcher import Intercepted

SIGN_IN: Final = 511
"""Network Authentication Required (RFC 6585)."""


def sent_elsewhere(target: str) -> Intercepted:
    """Return the failure for a redirect of plain HTTP to another host."""
    return Intercepted(f"it sent us to {target}")


def asks_for_sign_in() -> Intercepted:
    """Return the failure for status 511."""
    return Intercepted(f"it asks for a sign-in (HTTP {SIGN_IN})")


def check_document(url: str, kind: str, body: bytes) -> None:
    """Refuse a web page in place of a document.

    Raises:
        Intercepted: ``body`` is a web page over plain HTTP.
    """
    page = kind.startswith("text/html") or body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    if page and url.startswith("http://"):
        raise Intercepted("it answered with a web page")
