"""IPNS records: signed by the key of their name, in one encoding, until a date."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.arch import Arch
from phase_boot.trust.announcement import FIELD, Announcement
from phase_boot.trust.dag_cbor import Value, decode, encode
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import (
    CONTEXT,
    MAX_NUMBER,
    MAX_RECORD,
    MAX_VALIDITY,
    MAX_VALUE,
    IpnsRecord,
    check_not_replayed,
    make_record,
    newest_records,
    read_record,
    verify_record,
)
from phase_boot.trust.keys import is_signed_by
from phase_boot.trust.record_refusals import (
    RecordBadSignature,
    RecordExpired,
    RecordMalformed,
    RecordNotCanonical,
    RecordReplayed,
    RecordTooFarAhead,
)
from phase_boot.trust.refusals import BadField, Refusal, TooLarge
from tests.support.ipns_records import (
    ANNOUNCING_KEY,
    MIRROR,
    NAME,
    NOW,
    OTHER_KEY,
    VALIDITY,
    VALUE,
    announcement,
    data,
    message,
    place,
    record,
    signed_data,
)

GOOD = record()
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


def verified(raw: bytes = GOOD, now: datetime = NOW) -> IpnsRecord:
    return verify_record(raw, NAME, now)


def read(**changes: Value | None) -> IpnsRecord:
    """Verify a record whose signed data has some fields changed."""
    return verified(signed_data(data(**changes)))


def fields_of(raw: bytes) -> dict[int, bytes | int]:
    """Return the fields of a protobuf message, by a reader of its own."""
    found: dict[int, bytes | int] = {}
    at = 0

    def number() -> int:
        nonlocal at
        start = at
        while raw[at] > 127:
            at += 1
        at += 1
        return sum((byte & 127) << 7 * n for n, byte in enumerate(raw[start:at]))

    while at < len(raw):
        tag = number()
        content = number()
        if tag & 7:
            found[tag >> 3] = raw[at : at + content]
            at += content
        else:
            found[tag >> 3] = content
    return found


def test_a_record_is_verified() -> None:
    assert verified() == IpnsRecord(
        name=NAME,
        value=VALUE,
        validity=VALIDITY,
        sequence=7,
        ttl_seconds=300.0,
        announcement=announcement(),
        raw=GOOD,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", "/ipfs/a"),
        ("value", "/ipfs/a b/~"),
        ("value", "/ipfs/" + "a" * (MAX_VALUE - 6)),
        ("announcement", Announcement({})),
        ("announcement", Announcement({("lab", Arch.ARM64): place(mirrors=(MIRROR,) * 8)})),
        ("sequence", 0),
        ("sequence", MAX_NUMBER),
        ("validity", VALIDITY + MICROSECOND),
        ("validity", NOW + MICROSECOND),
        ("validity", NOW + MAX_VALIDITY),
    ],
)
def test_every_field_of_a_record_round_trips(field: str, value: Any) -> None:
    assert getattr(verified(record(**{field: value})), field) == value


@pytest.mark.parametrize("ttl", [0, 1, MAX_NUMBER // 10**9])
def test_the_ttl_is_written_in_nanoseconds(ttl: int) -> None:
    raw = record(ttl_seconds=ttl)
    assert verified(raw).ttl_seconds == ttl
    assert fields_of(raw)[6] == ttl * 10**9


def test_parts_of_a_second_are_read() -> None:
    assert read(TTL=1_500_000_000).ttl_seconds == 1.5


def test_the_fields_of_version_1_agree_with_the_signed_data() -> None:
    """Boxo refuses a record whose fields of version 1 differ from the data."""
    fields = fields_of(record())
    held = decode(fields[9]) if isinstance(fields[9], bytes) else {}
    assert list(fields) == [1, 2, 3, 4, 5, 6, 8, 9]
    assert [fields[n] for n in (1, 3, 4, 5, 6)] == [
        held[name] for name in ("Value", "ValidityType", "Validity", "Sequence", "TTL")
    ]
    assert held == {
        "Value": VALUE.encode(),
        "Validity": b"2025-11-22T00:00:00.000000000Z",
        "ValidityType": 0,
        "Sequence": 7,
        "TTL": 300_000_000_000,
        "_phase_boot": announcement().encode(),
    }


def test_both_signatures_are_of_the_announcing_key() -> None:
    fields = fields_of(GOOD)
    value, first, until, second, signed = (fields[n] for n in (1, 2, 4, 8, 9))
    assert isinstance(value, bytes)
    assert isinstance(first, bytes)
    assert isinstance(until, bytes)
    assert isinstance(second, bytes)
    assert isinstance(signed, bytes)
    assert is_signed_by(NAME.keyid, value + until + b"EOL", first)
    assert is_signed_by(NAME.keyid, b"ipns-signature:" + signed, second)


def test_a_record_of_version_2_only_is_read() -> None:
    raw = signed_data(data())
    assert verified(raw) == replace(verified(), raw=raw)


def test_data_before_the_signature_is_read() -> None:
    signed = data()
    raw = message((9, signed), (8, ANNOUNCING_KEY.sign(CONTEXT + signed)))
    assert verified(raw).sequence == 7


def test_further_fields_are_ignored() -> None:
    more = message((7, b"\x08\x01"), (500, 1), (500, b"x"))
    assert verified(more + GOOD + more).announcement == announcement()
    assert read(Later=b"x", later="x", l=1).announcement == announcement()


@pytest.mark.parametrize(
    ("text", "validity"),
    [
        (b"2025-11-22T00:00:00Z", VALIDITY),
        (b"2025-11-22T00:00:00.5Z", VALIDITY + SECOND / 2),
        (b"2025-11-22T00:00:00.000001Z", VALIDITY + MICROSECOND),
        (b"2025-11-22T00:00:00.0000019Z", VALIDITY + MICROSECOND),
        (b"2025-11-22T00:00:00.00000199Z", VALIDITY + MICROSECOND),
        (b"2025-11-22T00:00:00.000001999Z", VALIDITY + MICROSECOND),
    ],
)
def test_a_validity_has_up_to_nine_digits_of_fractional_seconds(
    text: bytes, validity: datetime
) -> None:
    assert read(Validity=text).validity == validity


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"2025-11-22", b"2025-11-22T00:00:00", b"2025-11-22T00:00:00+00:00"),
        *(b"2025-11-22T00:00:00.Z", b"2025-11-22T00:00:00.0000000001Z"),
        *(b"2025-11-22T00:00:00z", b"2025-11-22T00:00:00Z\n", b" 2025-11-22T00:00:00Z"),
        *(b"2025-02-30T00:00:00Z", b"2025-11-22T24:00:01Z", b"0000-01-01T00:00:00Z"),
        *(b"2025-11-22T00:00:00.0000000Z0Z", b"2025-11-22T00:00:00.000000000Z\n"),
        *("2025-11-22T00:00:00.\u0661Z".encode(), b"2025-11-22T00:00:00.\xffZ"),
    ],
)
def test_another_form_of_a_validity_is_refused(text: bytes) -> None:
    with pytest.raises(BadField, match="The field Validity is not usable"):
        read(Validity=text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Value": None}, "Value is not usable (missing)"),
        ({"Value": VALUE}, "Value is not usable (not bytes)"),
        ({"Value": 7}, "Value is not usable (not bytes)"),
        ({"Value": b""}, "Value is not usable (too long"),
        ({"Value": b"/ipfs/"}, "Value is not usable (too long"),
        ({"Value": b"/ipns/" + str(NAME).encode()}, "Value is not usable (too long"),
        ({"Value": b" /ipfs/a"}, "Value is not usable (too long"),
        ({"Value": b"/ipfs/a\n"}, "Value is not usable (too long"),
        ({"Value": b"/ipfs/\x7f"}, "Value is not usable (too long"),
        ({"Value": b"/ipfs/\xff"}, "Value is not usable (too long"),
        ({"Value": b"/ipfs/" + b"a" * (MAX_VALUE - 5)}, "Value is not usable (too long"),
        ({"Validity": None}, "Validity is not usable (missing)"),
        ({"Validity": "2025-11-22T00:00:00Z"}, "Validity is not usable (not bytes)"),
        ({"ValidityType": None}, "ValidityType is not usable (not a whole number from 0 to 0)"),
        ({"ValidityType": 1}, "ValidityType is not usable (not a whole number from 0 to 0)"),
        ({"Sequence": None}, "Sequence is not usable (not a whole number from 0 to 9223372036854"),
        ({"Sequence": b"7"}, "Sequence is not usable (not a whole number from 0 to 922337203685"),
        ({"Sequence": 2**63}, "Sequence is not usable (not a whole number from 0 to 92233720368"),
        ({"TTL": None}, "TTL is not usable (not a whole number from 0 to 9223372036854775807)"),
        ({"TTL": 2**63}, "TTL is not usable (not a whole number from 0 to 9223372036854775807)"),
        ({FIELD: None}, "_phase_boot is not usable (missing)"),
        ({FIELD: b"{}"}, "_phase_boot is not usable (not a text)"),
        ({FIELD: "{} "}, "_phase_boot is not usable (not in canonical form (RFC 8785))"),
    ],
)
def test_a_field_that_is_not_usable_is_named(
    changes: dict[str, Value | None], message: str
) -> None:
    with pytest.raises(BadField) as refused:
        read(**changes)
    assert str(refused.value).startswith(f"The field {message}")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no field 8"),
        (message((8, b"x" * 64)), "no field 9"),
        (message((9, data())), "no field 8"),
        (message((8, 1), (9, data())), "field 8 is a number"),
        (message((8, b"x" * 64), (9, 1)), "field 9 is a number"),
        (GOOD + message((8, b"x" * 64)), "field 8 twice"),
        (GOOD + message((8, 1)), "field 8 twice"),
        (GOOD + message((9, data())), "field 9 twice"),
        (GOOD[:-1], "a field that is longer than the record"),
        (GOOD + b"\x0a", "the data ends inside a number"),
        (GOOD + b"\xff", "the data ends inside a number"),
        (GOOD + b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a field that is longer than the re"),
        (GOOD + b"\x0a" + b"\xff" * 9 + b"\x01", "a number is 2^63 or more"),
        (GOOD + b"\x8a\x00\x01x", "a number is spelled longer than it needs to be"),
        (GOOD + b"\x09" + bytes(8), "a field of wire type 1"),
        (GOOD + b"\x0b\x0c", "a field of wire type 3"),
        (GOOD + b"\x0d" + bytes(4), "a field of wire type 5"),
        (b"<!doctype html>", "a field of wire type 4"),
    ],
)
def test_bytes_that_are_no_record_of_version_2_are_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(RecordMalformed) as refused:
        verified(raw)
    assert f"({reason}" in str(refused.value)
    assert refused.value.ban_source


@pytest.mark.parametrize(
    "raw",
    [
        record(OTHER_KEY),
        signed_data(data(), OTHER_KEY),
        message((8, b""), (9, data())),
        message((8, bytes(64)), (9, data())),
        message((8, ANNOUNCING_KEY.sign(data())), (9, data())),
        message((8, ANNOUNCING_KEY.sign(CONTEXT + data()) + b"\0"), (9, data())),
        message((8, ANNOUNCING_KEY.sign(CONTEXT + data())), (9, data(Sequence=8))),
    ],
)
def test_a_signature_that_does_not_fit_is_refused(raw: bytes) -> None:
    with pytest.raises(RecordBadSignature, match=str(NAME)) as refused:
        verified(raw)
    assert refused.value.ban_source


def test_a_record_is_of_one_name() -> None:
    with pytest.raises(RecordBadSignature, match="is not what the key of k51"):
        verify_record(GOOD, IpnsName(OTHER_KEY.keyid), NOW)


@pytest.mark.parametrize("signed", [b"", data() + b"\0", b"\xff", data()[:-1], b"\xa1\x61a\xf6"])
def test_signed_data_that_is_not_canonical_is_refused(signed: bytes) -> None:
    with pytest.raises(RecordNotCanonical, match="is not canonical DAG-CBOR") as refused:
        verified(signed_data(signed))
    assert not refused.value.ban_source


def test_the_reason_for_data_that_is_not_canonical_is_stated() -> None:
    with pytest.raises(RecordNotCanonical) as refused:
        verified(signed_data(encode({}) + b"\0"))
    assert str(refused.value).startswith(
        "The data of the IPNS record is not canonical DAG-CBOR (1 bytes too many):"
    )


@pytest.mark.parametrize("excess", [0, 1])
def test_a_record_has_at_most_10_kib(excess: int) -> None:
    padding = message((500, b"x" * (MAX_RECORD - len(GOOD) - 4 + excess)))
    raw = GOOD + padding
    assert len(raw) == MAX_RECORD + excess
    if not excess:
        assert verified(raw).raw == raw
        return
    with pytest.raises(TooLarge, match="10240 bytes"):
        verified(raw)


@pytest.mark.parametrize("late", [timedelta(), SECOND, timedelta(days=9999)])
def test_a_record_is_valid_until_its_validity(late: timedelta) -> None:
    assert verified(now=VALIDITY - MICROSECOND).validity == VALIDITY
    with pytest.raises(RecordExpired) as refused:
        verified(now=VALIDITY + late)
    assert str(refused.value).startswith(
        f"The IPNS record was valid until 2025-11-22T00:00:00Z and it is {VALIDITY + late:%Y-%m-%d}"
    )
    assert not refused.value.ban_source


def test_an_expired_record_is_read_as_a_floor_and_a_forged_one_is_not() -> None:
    expired = record(validity=NOW - timedelta(days=400))
    assert read_record(expired, NAME).sequence == 7
    with pytest.raises(RecordBadSignature):
        read_record(record(OTHER_KEY), NAME)


def test_of_several_records_the_newest_of_each_name_is_kept() -> None:
    low, high = verified(record(sequence=7)), verified(record(sequence=8))
    later = verified(record(sequence=8, validity=VALIDITY + SECOND))
    other = verify_record(record(OTHER_KEY, sequence=1), IpnsName(OTHER_KEY.keyid), NOW)
    assert newest_records() == ()
    assert newest_records((low, high)) == newest_records((high,), (low,)) == (high,)
    assert newest_records((high,), (later, other)) == newest_records((other, later), (low,))
    assert {each.name: each for each in newest_records((high,), (later, other))} == {
        NAME: later,
        other.name: other,
    }
    assert newest_records((high,), (high,)) == (high,)


def test_a_validity_of_more_than_a_year_ahead_is_refused() -> None:
    verified(now=VALIDITY - MAX_VALIDITY)
    with pytest.raises(RecordTooFarAhead) as refused:
        verified(now=VALIDITY - MAX_VALIDITY - MICROSECOND)
    assert str(refused.value).startswith(
        "The IPNS record is valid until 2025-11-22T00:00:00Z, more than 366 days after 2024-11-20T"
    )
    assert not refused.value.ban_source


def test_dates_at_the_ends_of_the_calendar_are_refused_by_name() -> None:
    last = signed_data(data(Validity=b"9999-12-31T23:59:59.999999999Z"))
    with pytest.raises(RecordTooFarAhead):
        verified(last)
    with pytest.raises(RecordTooFarAhead):
        verified(last, datetime.min.replace(tzinfo=UTC))
    with pytest.raises(RecordExpired):
        verified(signed_data(data(Validity=b"0001-01-01T00:00:00Z")))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_a_validity_is_written_in_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setenv("TZ", zone)
        time.tzset()
        east = datetime(2025, 11, 22, 5, 0, 0, 1, timezone(timedelta(hours=5)))
        raw = record(validity=east)
        assert b"2025-11-22T00:00:00.000001000Z" in raw
        assert verified(raw).validity == VALIDITY + MICROSECOND
    time.tzset()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"value": ""}, "Value"),
        ({"value": "/ipfs/\u00e9"}, "Value"),
        ({"value": "/ipfs/\ud800"}, "Value"),
        ({"sequence": -1}, "Sequence"),
        ({"sequence": MAX_NUMBER + 1}, "Sequence"),
        ({"ttl_seconds": -1}, "TTL"),
        ({"ttl_seconds": MAX_NUMBER // 10**9 + 1}, "TTL"),
        ({"announcement": announcement(mirrors=("x",))}, "_phase_boot.stable/amd64.mirrors"),
    ],
)
def test_what_a_reader_would_refuse_is_not_made(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BadField, match=f"The field {field} is not usable"):
        record(**changes)


def test_a_record_that_would_be_too_large_is_not_made() -> None:
    mirrors = tuple(f"https://{'m' * 60}.example/{'p' * 100}/manifest.json" for _ in range(8))
    places = {(f"c{number}", Arch.AMD64): place(mirrors=mirrors) for number in range(8)}
    with pytest.raises(TooLarge):
        record(announcement=Announcement(places))


def test_a_record_is_made_with_the_key_alone() -> None:
    made = make_record(
        OTHER_KEY,
        value=VALUE,
        announcement=announcement(),
        sequence=1,
        validity=VALIDITY,
        ttl_seconds=1,
    )
    assert verify_record(made, IpnsName(OTHER_KEY.keyid), NOW).name.keyid == OTHER_KEY.keyid


def seen(sequence: int, validity: datetime = VALIDITY, **changes: Any) -> IpnsRecord:
    return verified(record(sequence=sequence, validity=validity, **changes))


@pytest.mark.parametrize(
    ("one", "other", "newer"),
    [
        (seen(8), seen(7), True),
        (seen(7), seen(7), False),
        (seen(7), seen(8), False),
        (seen(8), seen(7, VALIDITY + SECOND), True),
        (seen(7, VALIDITY + MICROSECOND), seen(7), True),
        (seen(7), seen(7, VALIDITY + MICROSECOND), False),
    ],
)
def test_a_record_is_newer_by_sequence_and_then_by_validity(
    *, one: IpnsRecord, other: IpnsRecord, newer: bool
) -> None:
    assert one.newer_than(other) is newer


@pytest.mark.parametrize("newest", [None, seen(7), seen(6), seen(7, VALIDITY - SECOND)])
def test_a_record_that_is_not_older_is_no_replay(newest: IpnsRecord | None) -> None:
    check_not_replayed(seen(7), newest)
    check_not_replayed(seen(7, value="/ipfs/another"), newest)


@pytest.mark.parametrize("newest", [seen(8), seen(7, VALIDITY + SECOND)])
def test_a_record_that_is_older_is_a_replay(newest: IpnsRecord) -> None:
    with pytest.raises(RecordReplayed) as refused:
        check_not_replayed(seen(7), newest)
    assert str(refused.value).startswith(
        f"The IPNS record has sequence 7 and is older than one with sequence {newest.sequence} "
    )
    assert not refused.value.ban_source


def test_sequences_of_different_names_do_not_compare() -> None:
    other = verify_record(record(OTHER_KEY, sequence=9), IpnsName(OTHER_KEY.keyid), NOW)
    check_not_replayed(seen(7), other)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(Refusal):
        verified(raw)
