"""Attacks on IPNS records: only the announcing key names places, and only for a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from phase_boot.content import varint
from phase_boot.content.arch import Arch
from phase_boot.trust.announcement import FIELD, Announcement
from phase_boot.trust.dag_cbor import encode
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import (
    CONTEXT,
    MAX_RECORD,
    IpnsRecord,
    check_not_replayed,
    verify_record,
)
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
    DATA,
    NAME,
    NOW,
    OTHER_KEY,
    SIGNATURE_V2,
    VALIDITY,
    announcement,
    data,
    message,
    place,
    record,
    signed_data,
)

GOOD = record()
SIGNED_PART = GOOD.index(message((SIGNATURE_V2, b"x" * 64))[:2])
"""Where the signature of version 2 starts; the data follows it."""


def assert_refused(raw: bytes, refusal: type[Refusal], newest: bytes = GOOD) -> None:
    """The record is refused by name, and the newest one seen before is accepted still."""
    with pytest.raises(refusal):
        verify_record(raw, NAME, NOW)
    assert verify_record(newest, NAME, NOW).raw == newest


def test_any_flipped_bit_of_the_signed_part_is_refused() -> None:
    for position in range(SIGNED_PART, len(GOOD)):
        for bit in range(8):
            mutated = bytearray(GOOD)
            mutated[position] ^= 1 << bit
            with pytest.raises(Refusal):
                verify_record(bytes(mutated), NAME, NOW)


def test_a_flipped_bit_of_the_unsigned_part_changes_nothing_that_is_used() -> None:
    good = verify_record(GOOD, NAME, NOW)
    for position in range(SIGNED_PART):
        for bit in range(8):
            mutated = bytearray(GOOD)
            mutated[position] ^= 1 << bit
            try:
                found = verify_record(bytes(mutated), NAME, NOW)
            except (RecordMalformed, RecordBadSignature):
                continue
            assert (found.value, found.validity, found.sequence, found.announcement) == (
                *(good.value, good.validity, good.sequence, good.announcement),
            )


def test_record_that_was_cut_is_refused() -> None:
    for length in range(len(GOOD)):
        assert_refused(GOOD[:length], RecordMalformed)


def test_record_forged_by_another_key() -> None:
    assert_refused(record(OTHER_KEY), RecordBadSignature)
    assert_refused(signed_data(data(), OTHER_KEY), RecordBadSignature)


def test_public_key_in_the_record_is_not_used() -> None:
    """Field 7 names a key for names that are a hash; an ed25519 name is its own key."""
    protobuf = bytes.fromhex("08011220") + bytes.fromhex(OTHER_KEY.keyid.removeprefix("ed25519:"))
    signature = OTHER_KEY.sign(CONTEXT + data())
    raw = message((7, protobuf), (SIGNATURE_V2, signature), (DATA, data()))
    assert_refused(raw, RecordBadSignature)


def test_small_order_key_signs_no_record() -> None:
    """A key for which everything verifies under lax rules is as good as no key."""
    weak = IpnsName("ed25519:01" + "00" * 31)
    raw = message((SIGNATURE_V2, bytes([1]) + bytes(63)), (DATA, data()))
    with pytest.raises(RecordBadSignature):
        verify_record(raw, weak, NOW)


def test_signature_of_version_1_signs_no_record() -> None:
    """It covers the value, the validity and its type alone, so it proves no announcement."""
    until = b"2025-11-22T00:00:00.000000000Z"
    value = b"/ipfs/bafkqaaa"
    first = ANNOUNCING_KEY.sign(value + until + b"EOL")
    old = message((1, value), (2, first), (3, 0), (4, until), (5, 7), (6, 1))
    assert_refused(old, RecordMalformed)
    new = message((SIGNATURE_V2, first), (DATA, data()))
    assert_refused(old + new, RecordBadSignature)


def test_signature_of_another_kind_of_document_signs_no_record() -> None:
    raw = message((SIGNATURE_V2, ANNOUNCING_KEY.sign(data())), (DATA, data()))
    assert_refused(raw, RecordBadSignature)


def test_fields_of_version_1_that_contradict_are_ignored() -> None:
    lies = message(
        (1, b"/ipfs/bafyelsewhere"), (2, b"x" * 64), (3, 1), (4, b"2099-01-01T00:00:00Z")
    ) + message((5, 2**63 - 1), (6, 1), (1, 7), (5, b"x"))
    for raw in (lies + signed_data(data()), signed_data(data()) + lies):
        found = verify_record(raw, NAME, NOW)
        assert found.sequence == 7
        assert found.validity == VALIDITY
        assert found.ttl_seconds == 300
        assert found.value.startswith("/ipfs/bafkrei")


def test_expired_record() -> None:
    with pytest.raises(RecordExpired):
        verify_record(GOOD, NAME, VALIDITY)
    with pytest.raises(RecordExpired):
        verify_record(GOOD, NAME, VALIDITY + timedelta(days=4000))


def test_record_that_is_valid_for_years() -> None:
    for validity in (NOW + timedelta(days=366, microseconds=1), NOW + timedelta(days=36_500)):
        assert_refused(record(validity=validity), RecordTooFarAhead)


def test_replay_of_a_lower_sequence() -> None:
    newest = verify_record(record(sequence=8), NAME, NOW)
    with pytest.raises(RecordReplayed):
        check_not_replayed(verify_record(GOOD, NAME, NOW), newest)
    later = record(sequence=7, validity=VALIDITY + timedelta(days=1))
    with pytest.raises(RecordReplayed):
        check_not_replayed(verify_record(later, NAME, NOW), newest)


def test_of_two_valid_records_the_newer_one_counts_whichever_answers_first() -> None:
    raws = [record(sequence=n, validity=VALIDITY + timedelta(n % 2)) for n in (7, 9, 8, 9, 7)]
    newest: IpnsRecord | None = None
    refused = 0
    for raw in raws:
        found = verify_record(raw, NAME, NOW)
        try:
            check_not_replayed(found, newest)
        except RecordReplayed:
            refused += 1
            continue
        newest = found
    assert newest is not None
    assert newest.sequence == 9
    assert refused == 2


def test_highest_sequence_by_a_stolen_key_is_bounded_and_its_successor_is_another_name() -> None:
    highest = verify_record(record(sequence=2**63 - 1), NAME, NOW)
    assert_refused(signed_data(data(Sequence=2**63)), BadField)
    assert_refused(signed_data(data(Sequence=2**64 - 1)), BadField)
    with pytest.raises(RecordReplayed):
        check_not_replayed(verify_record(GOOD, NAME, NOW), highest)
    renamed = IpnsName(OTHER_KEY.keyid)
    check_not_replayed(verify_record(record(OTHER_KEY, sequence=1), renamed, NOW), highest)


def test_oversized_record() -> None:
    assert_refused(GOOD + message((500, b"x" * MAX_RECORD)), TooLarge)
    assert_refused(b"\0" * (MAX_RECORD + 1), TooLarge)


def replaced(old: bytes, new: bytes) -> bytes:
    """Return good data with one part replaced."""
    good = data()
    assert good.count(old) == 1
    return good.replace(old, new)


HEAD = b"\xa6"
TTL = b"\x63TTL\x1b\x00\x00\x00\x45\xd9\x64\xb8\x00"
SEQUENCE = b"\x68Sequence\x07"
VALIDITY_TYPE = b"\x6cValidityType\x00"


@pytest.mark.parametrize(
    "signed",
    [
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\x18\x07"), id="number-in-a-byte"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\x19\x00\x07"), id="number-in-two-bytes"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\x1b" + bytes(7) + b"\x07"), id="in-eight"),
        pytest.param(replaced(SEQUENCE, b"\x78\x08Sequence\x07"), id="length-in-a-byte"),
        pytest.param(b"\xb8\x06" + data()[1:], id="fields-in-a-byte"),
        pytest.param(HEAD + data()[1 + len(TTL) :] + TTL, id="unsorted-keys"),
        pytest.param(b"\xa7" + TTL + data()[1:], id="duplicate-key"),
        pytest.param(b"\xa7" + data()[1:] + SEQUENCE, id="duplicate-key-at-the-end"),
        pytest.param(b"\xbf" + data()[1:] + b"\xff", id="indefinite-map"),
        pytest.param(replaced(SEQUENCE, b"\x7f\x68Sequence\xff\x07"), id="indefinite-text"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\xc1\x07"), id="tag"),
        pytest.param(b"\xd9\xd9\xf7" + data(), id="tag-of-self-described-cbor"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\xf9\x47\x00"), id="half-float"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\xfb\x40\x1c" + bytes(6)), id="double"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\x26"), id="negative"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\xf6"), id="null"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\x81\x07"), id="list"),
        pytest.param(replaced(SEQUENCE, b"\x68Sequence\xa0"), id="map"),
        pytest.param(replaced(SEQUENCE, b"\x48Sequence\x07"), id="key-of-bytes"),
        pytest.param(data() + b"\0", id="trailing-byte"),
        pytest.param(data() + data(), id="twice"),
        pytest.param(data()[:-1], id="cut"),
        pytest.param(b"\xa7" + data()[1:], id="a-field-less-than-its-head-states"),
        pytest.param(b"\xa5" + data()[1:], id="a-field-more-than-its-head-states"),
        pytest.param(b"\xbb" + b"\xff" * 8 + data()[1:], id="endless-map"),
        pytest.param(replaced(VALIDITY_TYPE, b"\x6cValidityTyp\xff\x00"), id="key-not-utf-8"),
        pytest.param(encode({f"{n:02}": n for n in range(33)}), id="33-fields"),
        pytest.param(b"\xa1\x61a" + b"\x81" * 9000, id="deep"),
    ],
)
def test_data_that_two_readers_could_read_differently(signed: bytes) -> None:
    assert_refused(signed_data(signed), RecordNotCanonical)


def huge(number: int) -> bytes:
    """Return the head of a field of bytes that is longer than any record."""
    return varint.encode(number << 3 | 2) + varint.encode(2**62)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(GOOD + message((8, b"x" * 64)), id="signature-twice"),
        pytest.param(message((8, b"x" * 64)) + GOOD, id="another-signature-first"),
        pytest.param(GOOD + message((9, data())), id="data-twice"),
        pytest.param(message((9, data(Sequence=8))) + GOOD, id="other-data-first"),
        pytest.param(GOOD + message((9, 0)), id="data-as-a-number-too"),
        pytest.param(message((8, 7), (9, data())), id="signature-as-a-number"),
        pytest.param(message((8, b"x" * 64), (9, 7)), id="data-as-a-number"),
        pytest.param(GOOD + b"\x41" + bytes(8), id="signature-of-64-bits"),
        pytest.param(GOOD + b"\x4b" + b"\x4c", id="data-as-a-group"),
        pytest.param(GOOD + b"\x4d" + bytes(4), id="data-of-32-bits"),
        pytest.param(GOOD + b"\x0e\x00", id="wire-type-6"),
        pytest.param(GOOD + b"\x0f\x00", id="wire-type-7"),
        pytest.param(huge(8) + b"x" * 64, id="huge-signature"),
        pytest.param(huge(9) + data(), id="huge-data"),
        pytest.param(GOOD + huge(500), id="huge-field"),
        pytest.param(GOOD + b"\x0a" + b"\xff" * 9 + b"\x01", id="length-of-64-bits"),
        pytest.param(GOOD + b"\x28\xff" + b"\xff" * 9 + b"\x01", id="endless-number"),
        pytest.param(GOOD + b"\x8a\x80\x00\x01x", id="tag-in-another-spelling"),
        pytest.param(b"\x42\xc0\x00" + GOOD[SIGNED_PART + 2 :], id="length-in-another-spelling"),
        pytest.param(b"delegate error: routing: not found", id="absent-name-by-kubo"),
        pytest.param(b"<html><body>Sign in</body></html>", id="captive-portal"),
    ],
)
def test_message_that_two_readers_could_read_differently(raw: bytes) -> None:
    assert_refused(raw, RecordMalformed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"stable/amd64":{}}',
        '{"a":{},"a":{}}',
        announcement().encode() + " ",
        announcement().encode().replace("manifest_cid", "\\u006danifest_cid"),
        announcement().encode().replace("https", "ftp"),
        announcement().encode().replace("/manifest.json", "/reboot"),
        '{"a":' * 1000 + "1" + "}" * 1000,
    ],
)
def test_announcement_that_is_not_usable_bans_no_router(text: str) -> None:
    """A stolen key must not have honest routers banned for what it signed."""
    with pytest.raises(BadField) as refused:
        verify_record(signed_data(data(**{FIELD: text})), NAME, NOW)
    assert not refused.value.ban_source


def test_announcement_of_a_thousand_places_is_refused() -> None:
    places = {(f"c{number}", Arch.AMD64): place(mirrors=(), providers=()) for number in range(17)}
    text = Announcement(places).encode()
    assert_refused(signed_data(data(**{FIELD: text})), BadField)


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"\0" * MAX_RECORD,
        lambda: message(*[(1, 0)] * (MAX_RECORD // 2)),
        lambda: message(*[(1, b"")] * (MAX_RECORD // 2)),
        lambda: signed_data(b"\xa1\x61a\x79\x26\xf0" + b"x" * 9968),
        lambda: signed_data(data(**{FIELD: '{"a":' + "[" * 8000})),
    ],
)
def test_the_costliest_records_are_refused_at_once(make: Callable[[], bytes]) -> None:
    with pytest.raises(Refusal):
        verify_record(make(), NAME, NOW)
