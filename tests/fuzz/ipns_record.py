"""IPNS records, as they come and as if the announcing key had signed them."""

from __future__ import annotations

import re

from phase_boot.content.arch import Arch
from phase_boot.trust import dag_cbor
from phase_boot.trust.announcement import (
    FIELD,
    MAX_MIRRORS,
    MAX_PLACES,
    MAX_PROVIDERS,
    Announcement,
)
from phase_boot.trust.dag_cbor import BadCbor
from phase_boot.trust.ipns_record import (
    MAX_NUMBER,
    MAX_RECORD,
    MAX_VALIDITY,
    IpnsRecord,
    check_not_replayed,
    verify_record,
)
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import canonical
from phase_boot.url import Url
from tests.fuzz.target import Target
from tests.support.ipns_records import (
    NAME,
    NOW,
    OTHER_KEY,
    announcement,
    data,
    message,
    place,
    record,
    signed_data,
)

VERSION_1 = 2048
"""Bytes that the fields of version 1, and empty lists of places, may add to a record."""


def one(case: bytes) -> None:
    _judge(case)
    _judge(case + signed_data(data()))
    _judge(signed_data(case))
    _judge(signed_data(data(**{FIELD: case.decode(errors="replace")})))
    _decode(case)


def _judge(raw: bytes) -> None:
    try:
        found = verify_record(raw, NAME, NOW)
    except Refusal:
        return
    assert len(raw) <= MAX_RECORD
    assert found.raw == raw
    assert NOW < found.validity <= NOW + MAX_VALIDITY
    assert 0 <= found.sequence <= MAX_NUMBER
    assert re.fullmatch(r"/ipfs/[ -~]{1,1018}", found.value)
    _check_places(found.announcement)
    check_not_replayed(found, found)
    _check_made_anew(found)


def _check_places(found: Announcement) -> None:
    assert len(found.places) <= MAX_PLACES
    for where in found.places.values():
        assert len(where.mirrors) <= MAX_MIRRORS
        assert len(where.providers) <= MAX_PROVIDERS
        assert all(Url.parse(url).path.endswith("/manifest.json") for url in where.mirrors)
        assert all(text.isascii() and text.isprintable() for text in where.providers)
    assert Announcement.parse(found.encode()) == found


def _check_made_anew(found: IpnsRecord) -> None:
    """What was read, signed anew, reads the same."""
    if len(found.raw) > MAX_RECORD - VERSION_1:
        return
    raw = record(
        value=found.value,
        announcement=found.announcement,
        sequence=found.sequence,
        validity=found.validity,
    )
    again = verify_record(raw, NAME, NOW)
    assert (again.value, again.announcement) == (found.value, found.announcement)
    assert (again.sequence, again.validity) == (found.sequence, found.validity)


def _decode(case: bytes) -> None:
    try:
        fields = dag_cbor.decode(case)
    except BadCbor:
        return
    assert dag_cbor.encode(fields) == case


_LATER = canonical({"lab/riscv64": {**place().table(), "z": []}})
_MORE = Announcement({("lab", Arch.ARM64): place(), ("stable", Arch.AMD64): place(mirrors=())})

TARGET = Target(
    one=one,
    starts={
        "good": record(),
        "version-2": signed_data(data()),
        "foreign": record(OTHER_KEY),
        "expired": signed_data(data(Validity=b"2025-11-20T00:00:00Z")),
        "message": message((1, b"/ipfs/x"), (5, 7), (500, b"")),
        "data": data(),
        "data-more": data(Later="x", Sequence=2**63 - 1, **{FIELD: _MORE.encode()}),
        "announcement": announcement().encode().encode(),
        "announcement-more": _MORE.encode().encode(),
        "announcement-later": _LATER,
    },
    max_len=MAX_RECORD,
    words=(
        *(b"\x65Value", b"\x63TTL", b"\x68Sequence", b"\x68Validity", b"\x6cValidityType"),
        *(b"\x6b_phase_boot", b"\x42\x40", b"\x4a", b"\x1b", b"\x58", b"\x78", b"\xbf", b"\xff"),
        *(b'"%s":' % name for name in (b"manifest_cid", b"mirrors", b"providers", b"a/arm64")),
        b"/manifest.json",
        b"2025-11-22T00:00:00.000000000Z",
        b"/ipfs/",
    ),
)
