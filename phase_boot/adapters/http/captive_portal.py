"""Telling a captive portal by its answer: the network itself answers, until somebody signs in.

Only over plain HTTP: whoever can show a certificate for the name that was asked is that server.
"""

from __future__ import annotations

from typing import Final

from phase_boot.ports.fetcher import Intercepted

SIGN_IN: Final = 511
"""Network Authentication Required (RFC 6585)."""


def sent_elsewhere(target: str) -> Intercepted:
    """Return what a redirect to another host says where plain HTTP was asked."""
    return Intercepted(f"it sent us to {target}")


def asks_for_sign_in() -> Intercepted:
    """Return what the status 511 says."""
    return Intercepted(f"it asks for a sign-in (HTTP {SIGN_IN})")


def check_document(url: str, kind: str, body: bytes) -> None:
    """Refuse a web page where a document was asked for.

    Raises:
        Intercepted: it is one.
    """
    page = kind.startswith("text/html") or body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    if page and url.startswith("http://"):
        raise Intercepted("it answered with a web page")
