"""The root of trust: names the publishers of each channel, as TUF's root role (SPEC M3.1).

``root/<n>.json`` names the keys that sign the next root, and for each channel the publishers' keys,
how many of them must sign a manifest, and until when. It may name announcing keys, which sign IPNS
records: places where a manifest may be (ADR 0016). Root n + 1 is signed by a threshold of root n's
keys and by a threshold of its own, so a stolen publisher or announcing key is revoked, and a root
key replaced, without touching a stick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.trust.fields import list_of, number_of, parse_channel, parse_date, parsed, table_of
from phase_boot.trust.keys import parse_keyid
from phase_boot.trust.refusals import BadField, RootNotByPrevious, RootNotBySelf, RootOutOfOrder
from phase_boot.trust.signatures import (
    MAX_KEYS,
    Claim,
    Trust,
    claims_of,
    signed_form,
    valid_signers,
)
from phase_boot.trust.strict_json import read_document

CONTEXT: Final = b"phase-boot-root-v1\n"
"""Prefix of the signed bytes: a signature fits one kind of document only."""
MAX_CHANNELS: Final = 32
MAX_ANNOUNCERS: Final = 4
MAX_VERSION: Final = 2**31


@dataclass(frozen=True, slots=True)
class Delegation:
    """The publishers of a channel, and the time until which they are trusted."""

    trust: Trust
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One root: its fields, and the digest of its signed bytes."""

    version: int
    role: Trust
    """The keys that sign the next root, and how many of them must."""
    channels: Mapping[str, Delegation]
    announcers: tuple[str, ...]
    """The announcing keys in the order of the document; each one alone signs an IPNS record."""
    digest: Digest


def load_trusted(raw: bytes) -> Root:
    """Return a root that is trusted as given: it must be signed by its own keys.

    Raises:
        Refusal: it is not a root, or a threshold of its own keys did not sign it.
    """
    root, claims, message = _read(raw)
    _check_self(root, claims, message)
    return root


def verify_next(previous: Root, raw: bytes) -> Root:
    """Return the root that follows ``previous``.

    Raises:
        Refusal: it is not a root; a threshold of the previous root's keys, or of its own, did not
            sign it; or its version is not the next one. Signatures are verified first.
    """
    root, claims, message = _read(raw)
    valid = len(valid_signers(claims, message, previous.role.keys))
    if valid < previous.role.threshold:
        raise RootNotByPrevious(
            version=root.version, valid=valid, threshold=previous.role.threshold
        )
    _check_self(root, claims, message)
    if root.version != previous.version + 1:
        raise RootOutOfOrder(found=root.version, wanted=previous.version + 1)
    return root


def signed_bytes(document: Mapping[str, object]) -> bytes:
    """Return the bytes that a signature covers: the document without ``signatures``."""
    return signed_form(document, CONTEXT)


def of(document: Mapping[str, object]) -> Root:
    """Return the fields of a parsed root; its signatures are not verified.

    Raises:
        BadField: a field is missing, of another type, or out of its bounds.
    """
    channels = table_of(document.get("channels"), "channels")
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise BadField(field="channels", reason=f"not 1 to {MAX_CHANNELS} channels")
    return Root(
        version=number_of(document.get("version"), "version", least=1, most=MAX_VERSION),
        role=_trust(document.get("root"), "root"),
        channels=MappingProxyType(
            {
                parsed(name, "channels", parse_channel): _delegation(value, f"channels.{name}")
                for name, value in channels.items()
            }
        ),
        announcers=_keys(document.get("announcers", []), "announcers", most=MAX_ANNOUNCERS),
        digest=Digest.of(signed_bytes(document)),
    )


def _read(raw: bytes) -> tuple[Root, tuple[Claim, ...], bytes]:
    document = read_document(raw)
    return of(document), claims_of(document), signed_bytes(document)


def _check_self(root: Root, claims: tuple[Claim, ...], message: bytes) -> None:
    valid = len(valid_signers(claims, message, root.role.keys))
    if valid < root.role.threshold:
        raise RootNotBySelf(version=root.version, valid=valid, threshold=root.role.threshold)


def _delegation(value: object, field: str) -> Delegation:
    table = table_of(value, field)
    expires = parsed(table.get("expires"), f"{field}.expires", parse_date)
    return Delegation(_trust(table, field), expires)


def _trust(value: object, field: str) -> Trust:
    table = table_of(value, field)
    keys = _keys(table.get("keys"), f"{field}.keys", most=MAX_KEYS)
    threshold = number_of(table.get("threshold"), f"{field}.threshold", least=1, most=MAX_KEYS)
    try:
        return Trust(frozenset(keys), threshold)
    except ValueError as error:
        raise BadField(field=field, reason=error) from None


def _keys(value: object, field: str, *, most: int) -> tuple[str, ...]:
    listed = list_of(value, field, most=most)
    keys = tuple(parsed(key, field, parse_keyid) for key in listed)
    if len(set(keys)) != len(keys):
        raise BadField(field=field, reason="a key is listed twice")
    return keys
