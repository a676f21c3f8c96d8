"""Explains TLS verification failures, with the way out.

Certificates are verified at the time of the system clock, which the seed sets (ADR 0004). If a
certificate is not valid at that time, a second handshake reads its dates for the message: it
verifies everything but the dates, and ends before any request is sent.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast

from phase_boot.console.lines import printable

NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of openssl/x509_vfy.h: verify everything but the dates."""
PEEK_SECONDS: Final = 10.0
"""Time limit of the second handshake."""
SHOWN: Final = 120
"""Characters of OpenSSL's or a certificate's text in a message, at most."""

# The codes X509_V_ERR_* of openssl/x509_vfy.h.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_DATES: Final = frozenset({_NOT_YET_VALID, _EXPIRED})
_SELF_SIGNED: Final = frozenset({18, 19})
_UNKNOWN_AUTHORITY: Final = frozenset({2, 20, 21})
_OTHER_NAME: Final = frozenset({62, 64})
_PORTAL: Final = (
    "where a captive portal answers for every server, sign in from another device, then retry"
)


@dataclass(frozen=True, slots=True)
class Validity:
    """Validity period of a certificate."""

    not_before: datetime
    not_after: datetime


class _DatesRead(ssl.SSLError):
    """Aborts the handshake after the certificate was read."""


class _Verified(Protocol):
    """A TLS object after its handshake."""

    def getpeercert(self) -> dict[str, Any] | None:
        """Return the fields of the server's certificate."""


class Peek:
    """Reads the validity of a server's certificate in a handshake that it then aborts."""

    def __init__(self) -> None:
        """Create it without a result."""
        self.validity: Validity | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context for one connection; this reads the trust store from files.

        It uses the system's trust store. Each handshake with it fails: with the verification error
        that remains without the check of dates, or after the certificate was read.
        """
        peek = self

        class Reading(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                peek.validity = _validity(cast("_Verified", self))
                raise _DatesRead("the certificate was read")

        context = ssl.create_default_context()
        context.verify_flags |= cast("ssl.VerifyFlags", NO_CHECK_TIME)
        context.sslobject_class = Reading
        return context


def is_about_dates(error: ssl.CertificateError) -> bool:
    """Return whether the dates of a certificate or of its authority are the cause."""
    return _code(error) in _DATES


def refusal(error: ssl.CertificateError, validity: Validity | None, now: datetime) -> str:
    """Return the cause of a refused certificate and the way out, in one sentence.

    Args:
        error: the verification error.
        validity: the validity of the certificate, if dates are the cause and known.
        now: the time of the system clock.
    """
    code, detail = _code(error), printable(getattr(error, "verify_message", "") or error)[:SHOWN]
    if code in _DATES:
        return _by_dates(code == _EXPIRED, validity, now)
    if code in _SELF_SIGNED:
        way_out = "use a mirror with a certificate of a known authority"
    elif code in _UNKNOWN_AUTHORITY:
        way_out = "use another mirror, or an image that has the authority of this one"
    elif code in _OTHER_NAME:
        way_out = "use the host name that it is for"
    else:
        way_out = "use another mirror"
    return f"its certificate does not count here ({detail}): {way_out}; {_PORTAL}"


def no_handshake(error: OSError) -> str:
    """Return the cause of a failed handshake and the way out, in one sentence."""
    detail = printable(getattr(error, "reason", None) or error)[:SHOWN].replace("_", " ").lower()
    return f"no TLS connection comes about ({detail}): check the scheme and the port of the URL"


def _by_dates(expired: bool, validity: Validity | None, now: datetime) -> str:  # noqa: FBT001
    clock = f"this machine's clock says {_shown(now)}"
    renew = (
        "renew the mirror's certificate, or set the clock in the Seed Shell if that is wrong"
        if expired
        else "set the clock in the Seed Shell if that is wrong, or use another mirror"
    )
    what = "has expired" if expired else "is not yet valid"
    if validity is None:
        return f"its certificate {what} and {clock}: {renew}"
    dates = f"from {_shown(validity.not_before)} to {_shown(validity.not_after)}"
    if validity.not_before <= now <= validity.not_after:
        return f"an authority of its certificate {what}; its own is valid {dates}, {clock}: {renew}"
    return f"its certificate {what}: it is valid {dates} and {clock}: {renew}"


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _code(error: ssl.CertificateError) -> int:
    return int(getattr(error, "verify_code", 0))


def _validity(verified: _Verified) -> Validity | None:
    fields = verified.getpeercert() or {}
    try:
        first, last = (_moment(fields[name]) for name in ("notBefore", "notAfter"))
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    return Validity(first, last)


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
