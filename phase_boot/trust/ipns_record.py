"""IPNS records: the signed announcement of a key ("IPNS Record and Protocol" of IPFS).

A record is a protobuf message. Two of its fields count: ``signatureV2`` and ``data``, canonical
DAG-CBOR that the signature covers. The fields of version 1 are written, because other
implementations compare them with the data, and are never read: their signature covers less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from phase_boot.content import varint
from phase_boot.trust import dag_cbor
from phase_boot.trust.announcement import FIELD, Announcement
from phase_boot.trust.dag_cbor import BadCbor
from phase_boot.trust.fields import matching, number_of, parse_date, parsed, text_of
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.keys import SigningKey, is_signed_by
from phase_boot.trust.record_refusals import (
    RecordBadSignature,
    RecordExpired,
    RecordMalformed,
    RecordNotCanonical,
    RecordReplayed,
    RecordTooFarAhead,
)
from phase_boot.trust.refusals import BadField, TooLarge

MAX_RECORD: Final = 10 * 1024
"""Bytes of the largest record, by the specification."""
MAX_VALUE: Final = 1024
"""Characters of the longest value."""
MAX_NUMBER: Final = 2**63 - 1
"""The largest sequence, and the largest TTL in nanoseconds: Go reads both as signed."""
MAX_VALIDITY: Final = timedelta(days=366)
"""How far ahead of "now" a validity may be.

It makes a mistake of the publisher show at once, before replays of that record are accepted for
years. A shorter bound would stop no thief of the key, who can sign one record for each coming
month; it would refuse honest records on a machine whose clock is months behind.
"""
CONTEXT: Final = b"ipns-signature:"
"""Prefix of the signed bytes."""

# Fields of the protobuf message, and their wire types (section "Record Serialization Format").
_VALUE, _SIGNATURE_V1, _VALIDITY_TYPE, _VALIDITY, _SEQUENCE, _TTL = 1, 2, 3, 4, 5, 6
_SIGNATURE_V2, _DATA = 8, 9
_VARINT, _BYTES = 0, 2

_EOL: Final = 0
"""The one type of validity: a date until which the record is valid."""
_EOL_NAME: Final = b"EOL"
"""The same in the signature of version 1."""
_SECOND: Final = 10**9
"""Nanoseconds."""
_VALUE_SHAPE: Final = re.compile(rf"/ipfs/[ -~]{{1,{MAX_VALUE - 6}}}")
_NANOSECONDS: Final = re.compile(r"(?<=\.[0-9]{6})[0-9]{1,3}(?=Z\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class IpnsRecord:
    """The signed fields of a record whose signature and dates were verified."""

    name: IpnsName
    value: str
    """The path that the name stands for, ``/ipfs/<CID>``."""
    validity: datetime
    """Until when it is valid, in UTC; nanoseconds are cut to microseconds."""
    sequence: int
    ttl_seconds: float
    """How long a cache may answer with it before it asks again."""
    announcement: Announcement
    raw: bytes
    """The whole record. The signature does not cover its fields of version 1."""

    def newer_than(self, other: IpnsRecord) -> bool:
        """Return whether it replaces ``other``, by sequence and then by validity."""
        return (self.sequence, self.validity) > (other.sequence, other.validity)


def verify_record(raw: bytes, name: IpnsName, now: datetime) -> IpnsRecord:
    """Return the record in ``raw`` if the key of ``name`` signed it and it is valid.

    ``now`` is an aware time. The signature is verified before the data is parsed.

    Raises:
        Refusal: the first check that fails.
    """
    record = read_record(raw, name)
    if now >= record.validity:
        raise RecordExpired(validity=record.validity, now=now)
    # The difference of two dates cannot overflow; a date plus a span can.
    if record.validity - now > MAX_VALIDITY:
        raise RecordTooFarAhead(validity=record.validity, days=MAX_VALIDITY.days, now=now)
    return record


def read_record(raw: bytes, name: IpnsName) -> IpnsRecord:
    """Return the record in ``raw`` if the key of ``name`` signed it, whatever its validity is.

    Raises:
        Refusal: it is not a record, or another key signed it.
    """
    if len(raw) > MAX_RECORD:
        raise TooLarge(limit=MAX_RECORD)
    signature, data = _signed_parts(raw)
    if not is_signed_by(name.keyid, CONTEXT + data, signature):
        raise RecordBadSignature(name=name)
    try:
        fields = dag_cbor.decode(data)
    except BadCbor as error:
        raise RecordNotCanonical(reason=error) from None
    number_of(fields.get("ValidityType"), "ValidityType", least=_EOL, most=_EOL)
    return IpnsRecord(
        name=name,
        value=matching(_text_of(fields.get("Value"), "Value"), "Value", _VALUE_SHAPE),
        validity=parsed(_text_of(fields.get("Validity"), "Validity"), "Validity", _parse_validity),
        sequence=number_of(fields.get("Sequence"), "Sequence", least=0, most=MAX_NUMBER),
        ttl_seconds=number_of(fields.get("TTL"), "TTL", least=0, most=MAX_NUMBER) / _SECOND,
        announcement=Announcement.parse(text_of(fields.get(FIELD), FIELD)),
        raw=raw,
    )


def newest_records(*groups: tuple[IpnsRecord, ...]) -> tuple[IpnsRecord, ...]:
    """Return the newest record of each name in any of the groups, in the order of their names."""
    newest: dict[IpnsName, IpnsRecord] = {}
    for record in (record for group in groups for record in group):
        known = newest.get(record.name)
        if known is None or record.newer_than(known):
            newest[record.name] = record
    return tuple(sorted(newest.values(), key=lambda record: record.name.keyid))


def check_not_replayed(record: IpnsRecord, newest: IpnsRecord | None) -> None:
    """Raise RecordReplayed if ``record`` is older than ``newest``, the newest seen before.

    The same sequence and validity are not older. Sequences of different names do not compare, so a
    record of another name is not replayed.
    """
    if newest is None or newest.name != record.name:
        return
    if newest.newer_than(record):
        raise RecordReplayed(sequence=record.sequence, highest=newest.sequence)


def make_record(  # noqa: PLR0913 - each field of the record is one
    key: SigningKey,
    *,
    value: str,
    announcement: Announcement,
    sequence: int,
    validity: datetime,
    ttl_seconds: int,
) -> bytes:
    """Return a record that ``key`` signs.

    It has the fields of version 1 too, so that every implementation accepts it. ``validity`` is an
    aware time.

    Raises:
        Refusal: `verify_record` would refuse it at any time.
    """
    path = matching(value, "Value", _VALUE_SHAPE).encode()
    until = _date(validity).encode()
    number = number_of(sequence, "Sequence", least=0, most=MAX_NUMBER)
    ttl = number_of(ttl_seconds * _SECOND, "TTL", least=0, most=MAX_NUMBER)
    data = dag_cbor.encode(
        {
            "Value": path,
            "Validity": until,
            "ValidityType": _EOL,
            "Sequence": number,
            "TTL": ttl,
            FIELD: announcement.encode(),
        }
    )
    raw = b"".join(
        (
            _bytes_field(_VALUE, path),
            _bytes_field(_SIGNATURE_V1, key.sign(path + until + _EOL_NAME)),
            _number_field(_VALIDITY_TYPE, _EOL),
            _bytes_field(_VALIDITY, until),
            _number_field(_SEQUENCE, number),
            _number_field(_TTL, ttl),
            _bytes_field(_SIGNATURE_V2, key.sign(CONTEXT + data)),
            _bytes_field(_DATA, data),
        )
    )
    read_record(raw, IpnsName(key.keyid))
    return raw


def _signed_parts(raw: bytes) -> tuple[bytes, bytes]:
    """Return the signature of version 2, and the data that it covers."""
    found: dict[int, bytes] = {}
    try:
        for number, content in _message(raw):
            if number not in {_SIGNATURE_V2, _DATA}:
                continue
            if number in found:
                raise RecordMalformed(reason=f"field {number} twice")
            if content is None:
                raise RecordMalformed(reason=f"field {number} is a number")
            found[number] = content
    except (EOFError, ValueError) as error:
        raise RecordMalformed(reason=error) from None
    for number in (_SIGNATURE_V2, _DATA):
        if number not in found:
            raise RecordMalformed(reason=f"no field {number}")
    return found[_SIGNATURE_V2], found[_DATA]


def _message(raw: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number and the content of each field; None is the content of a varint.

    Raises:
        EOFError: the message ends inside a number.
        ValueError: it ends inside a field, or has a field of another wire type.
    """
    at = 0
    while at < len(raw):
        tag, at = varint.decode(raw, at)
        wire_type = tag & 7
        if wire_type not in {_VARINT, _BYTES}:
            raise ValueError(f"a field of wire type {wire_type}")
        number, at = varint.decode(raw, at)
        if wire_type == _VARINT:
            yield tag >> 3, None
            continue
        start, at = at, at + number
        if at > len(raw):
            raise ValueError("a field that is longer than the record")
        yield tag >> 3, raw[start:at]


def _bytes_field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | _BYTES,)) + varint.encode(len(content)) + content


def _number_field(number: int, content: int) -> bytes:
    return bytes((number << 3 | _VARINT,)) + varint.encode(content)


def _text_of(value: object, field: str) -> str:
    """Return ``value``, which is bytes, as a text; bytes that are not UTF-8 are replaced."""
    if value is None:
        raise BadField(field=field, reason="missing")
    if not isinstance(value, bytes):
        raise BadField(field=field, reason="not bytes")
    return value.decode(errors="replace")


def _parse_validity(text: str) -> datetime:
    """Read a date with up to nine digits of fractional seconds; raise ValueError otherwise."""
    return parse_date(_NANOSECONDS.sub("", text))


def _date(moment: datetime) -> str:
    # With nine digits of fractional seconds: some readers demand a fraction.
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return f"{text}000Z"
