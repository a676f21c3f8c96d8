"""Signatures of a document, and their threshold: m of n different trusted keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from phase_boot.trust.fields import list_of
from phase_boot.trust.keys import is_signed_by, parse_keyid
from phase_boot.trust.refusals import BadField
from phase_boot.trust.strict_json import canonical

MAX_KEYS: Final = 32
"""Largest number of keys in a list, and of signatures on a document."""
SIGNATURES: Final = "signatures"


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted keys, and how many different ones must sign.

    Raises:
        ValueError: no key, an invalid key id, or a threshold below 1 or above the number of keys.
    """

    keys: frozenset[str]
    threshold: int

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("trust needs at least one key: an empty list would trust nobody")
        for keyid in self.keys:
            parse_keyid(keyid)
        if not 1 <= self.threshold <= len(self.keys):
            raise ValueError(
                f"the threshold is {self.threshold} and must be from 1 to the {len(self.keys)} keys"
            )


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature of a document, not verified."""

    keyid: str
    sig: str

    def holds(self, message: bytes) -> bool:
        """Return whether it is a signature of ``message`` by the key ``keyid``.

        Raises:
            ValueError: ``keyid`` is not a key id.
        """
        return is_signed_by(self.keyid, message, _decoded(self.sig))


def signed_form(document: Mapping[str, object], context: bytes) -> bytes:
    """Return the bytes that a signature covers: the document without ``signatures``.

    ``context`` precedes them, so that a signature fits one kind of document only.
    """
    body = {name: value for name, value in document.items() if name != SIGNATURES}
    return context + canonical(body)


def claims_of(document: Mapping[str, object]) -> tuple[Claim, ...]:
    """Return the signatures of ``document``; none if it has no such field.

    Raises:
        BadField: they are not a list of at most 32, or an entry is not a keyid and a sig.
    """
    entries = list_of(document.get(SIGNATURES, []), SIGNATURES, most=MAX_KEYS)
    return tuple(map(_claim, entries))


def valid_signers(
    claims: tuple[Claim, ...], message: bytes, keys: frozenset[str]
) -> frozenset[str]:
    """Return those of ``keys`` that signed ``message``."""
    # An invalid signature must not hide a valid one of the same key.
    return frozenset(c.keyid for c in claims if c.keyid in keys and c.holds(message))


def _claim(entry: object) -> Claim:
    match entry:
        case {"keyid": str(keyid), "sig": str(sig)}:
            return Claim(keyid, sig)
        case _:
            raise BadField(field=SIGNATURES, reason="an entry is not a keyid and a sig")


def _decoded(sig: str) -> bytes:
    """Return the bytes of canonical base64; no bytes for anything else."""
    try:
        data = base64.b64decode(sig, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == sig else b""
