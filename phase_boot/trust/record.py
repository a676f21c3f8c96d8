"""What a publisher leaves in the DHT: where the newest manifest of one channel may be (SPEC M2.5).

A record is a hint and is still signed, so that strangers cannot crowd out the publisher's. It names
the key, channel and architecture it is stored for: nobody can move it to another place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, Codec
from phase_boot.trust.fields import (
    MAX_MIRRORS,
    list_of,
    matching,
    number_of,
    parse_channel,
    parse_date,
    parse_mirror,
    parsed,
    text_of,
)
from phase_boot.trust.keys import SigningKey, parse_keyid
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.signatures import Claim
from phase_boot.trust.strict_json import MAX_INTEGER, canonical, read_document

CONTEXT: Final = b"phase-boot-record-v1\n"
"""What the signed bytes start with, so that no signature fits two kinds of document."""
NAMESPACE: Final = "/phase/"
MAX_BYTES: Final = 8 * 1024
"""Bytes of one record."""
MAX_DEPTH: Final = 4
MAX_PROVIDERS: Final = 16
_SIGNATURE: Final = "signature"
# A multiaddr such as /ip4/192.0.2.7/tcp/4001/p2p/12D3...: a slash before each part.
_PROVIDER: Final = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9.:%_-]{0,99}){2,12}")


class RecordUnsigned(Refusal):
    """No signature at all."""

    code = "record.unsigned"
    sentence = "The record in the DHT is not signed: ask other peers for it."
    ban_source = True


class RecordBadSignature(Refusal):
    """Not signed by the publisher it is stored for, or changed afterwards."""

    code = "record.bad-signature"
    sentence = "The record in the DHT is not what {keyid} signed: ask other peers for it."
    ban_source = True


class RecordMisplaced(Refusal):
    """Signed for another key, channel or architecture than the place where it was found."""

    code = "record.misplaced"
    sentence = (
        "The record in the DHT has the {field} {found} and was stored for {wanted}: "
        "ask other peers for it."
    )
    ban_source = True


class RecordExpired(Refusal):
    """Its time is over."""

    code = "record.expired"
    sentence = (
        "The record in the DHT expired at {expires} and it is {now}: ask other peers for a newer "
        "one, unless this machine's clock is wrong."
    )


RECORD_REFUSALS: Final[tuple[type[Refusal], ...]] = (
    RecordUnsigned,
    RecordBadSignature,
    RecordMisplaced,
    RecordExpired,
)
"""In the order of the checks; a record that is no document at all is refused as such before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record that the publisher signed and that is still valid."""

    manifest_cid: Cid
    """Of the manifest file, as one raw block."""
    mirrors: tuple[str, ...]
    """Base URLs of the mirror layout."""
    providers: tuple[str, ...]
    """Multiaddrs of peers that have the manifest's artifacts."""
    seq: int
    expires: datetime
    raw: bytes
    """What was signed and is stored, byte for byte."""


def record_key(keyid: str, channel: str, arch: Arch) -> str:
    """Return the DHT's key for the newest manifest of ``channel`` and ``arch`` by ``keyid``.

    Raises:
        ValueError: no key id, or no channel.
    """
    # A JSON list: no two triples have the same bytes.
    place = json.dumps([parse_keyid(keyid), parse_channel(channel), arch], separators=(",", ":"))
    digest = hashlib.sha256(CONTEXT + place.encode("ascii")).digest()
    return NAMESPACE + base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def read_record(raw: bytes, *, keyid: str, channel: str, arch: Arch, now: datetime) -> Record:
    """Return the record in ``raw``, which was stored for ``keyid``, ``channel`` and ``arch``.

    ``now`` is an aware time. The signature is judged before anything else the record says.

    Raises:
        Refusal: the first check that fails.
        ValueError: ``keyid`` is no key id.
    """
    document = read_document(raw, limit=MAX_BYTES, depth=MAX_DEPTH)
    _check_signature(document, keyid)
    for field, wanted in (("keyid", keyid), ("channel", channel), ("arch", str(arch))):
        found = text_of(document.get(field), field)
        if found != wanted:
            raise RecordMisplaced(field=field, found=found, wanted=wanted)
    record = Record(
        manifest_cid=parsed(document.get("manifest_cid"), "manifest_cid", _manifest_cid),
        mirrors=tuple(
            parsed(mirror, "mirrors", parse_mirror)
            for mirror in list_of(document.get("mirrors"), "mirrors", most=MAX_MIRRORS)
        ),
        providers=tuple(
            matching(provider, "providers", _PROVIDER)
            for provider in list_of(document.get("providers"), "providers", most=MAX_PROVIDERS)
        ),
        seq=number_of(document.get("seq"), "seq", least=0, most=MAX_INTEGER),
        expires=parsed(document.get("expires"), "expires", parse_date),
        raw=raw,
    )
    if now >= record.expires:
        raise RecordExpired(expires=record.expires, now=now)
    return record


def select(records: Iterable[Record]) -> Record:
    """Return the newest of some valid records of one key; the same one whatever their order.

    Raises:
        ValueError: there is none.
    """
    return max(records, key=lambda record: (record.seq, record.expires, record.raw))


def sign_record(  # noqa: PLR0913 - every field of a record, by name
    key: SigningKey,
    *,
    channel: str,
    arch: Arch,
    manifest_cid: Cid,
    mirrors: Sequence[str],
    providers: Sequence[str],
    seq: int,
    expires: datetime,
) -> bytes:
    """Return the record to store under `record_key` of ``key``, ``channel`` and ``arch``.

    Raises:
        Refusal: readers would refuse it, so it is not signed.
    """
    body: dict[str, object] = {
        "keyid": key.keyid,
        "channel": channel,
        "arch": str(arch),
        "manifest_cid": str(manifest_cid),
        "mirrors": list(mirrors),
        "providers": list(providers),
        "seq": seq,
        "expires": expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    signature = base64.b64encode(key.sign(signed_bytes(body))).decode("ascii")
    raw = canonical({**body, _SIGNATURE: signature})
    # Only its time is not judged: when it is read is the reader's business.
    always = datetime.min.replace(tzinfo=UTC)
    return read_record(raw, keyid=key.keyid, channel=channel, arch=arch, now=always).raw


def signed_bytes(document: Mapping[str, object]) -> bytes:
    """Return the bytes that the signature of ``document`` covers: all of it but ``signature``."""
    body = {name: value for name, value in document.items() if name != _SIGNATURE}
    return CONTEXT + canonical(body)


def _check_signature(document: Mapping[str, object], keyid: str) -> None:
    if _SIGNATURE not in document:
        raise RecordUnsigned
    signature = text_of(document[_SIGNATURE], _SIGNATURE)
    if not Claim(keyid, signature).holds(signed_bytes(document)):
        raise RecordBadSignature(keyid=keyid)


def _manifest_cid(text: str) -> Cid:
    cid = Cid.parse(text)
    if cid.codec is not Codec.RAW:
        raise ValueError("a manifest is one raw block")
    return cid
