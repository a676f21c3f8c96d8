"""Attacks by peers of the DHT, who may store and answer whatever they like."""

from __future__ import annotations

import base64
import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import NOW, PUBLISHER, STRANGER, encoded
from phase_boot.trust import manifest
from phase_boot.trust.record import (
    MAX_BYTES,
    RecordBadSignature,
    RecordExpired,
    RecordMisplaced,
    RecordUnsigned,
    read_record,
    select,
    signed_bytes,
)
from phase_boot.trust.refusals import BadField, DuplicateKey, NotJson, Refusal, TooDeep, TooLarge
from phase_boot.trust.strict_json import canonical
from tests.support.dht_records import body, read, signed

RAW: Final = signed(body())
USED: Final = read(RAW)


def with_signature(sig: object) -> bytes:
    return encoded({**body(), "signature": sig})


def good_signature() -> str:
    found = json.loads(RAW)["signature"]
    assert isinstance(found, str)
    return found


def test_record_of_a_stranger() -> None:
    with pytest.raises(RecordBadSignature, match=PUBLISHER.keyid[:40]):
        read(signed(body(), STRANGER))
    with pytest.raises(RecordBadSignature):
        read(signed(body(keyid=STRANGER.keyid), STRANGER))


def test_record_without_a_signature() -> None:
    with pytest.raises(RecordUnsigned):
        read(encoded(body()))


@pytest.mark.parametrize("sig", [None, 7, [], {}])
def test_signature_of_another_kind(sig: object) -> None:
    with pytest.raises(BadField, match="signature"):
        read(with_signature(sig))


def test_other_spellings_of_a_good_signature() -> None:
    sig = good_signature()
    urlsafe = sig.replace("+", "-").replace("/", "_")
    spellings = {"", sig[:-1], sig + "=", sig + "\n", " " + sig, sig[:-3] + "B==", urlsafe + "-"}
    for spelling in spellings:
        with pytest.raises(RecordBadSignature):
            read(with_signature(spelling))
    assert read(with_signature(sig)) == read(encoded({**body(), "signature": sig}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("manifest_cid", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        ("mirrors", ["http://evil.example/"]),
        ("providers", ["/p2p/evil"]),
        ("seq", 8),
        ("expires", "2099-01-01T00:00:00Z"),
        ("more", 1),
    ],
)
def test_each_field_is_covered_by_the_signature(field: str, value: object) -> None:
    with pytest.raises(RecordBadSignature):
        read(encoded({**body(), field: value, "signature": good_signature()}))


@pytest.mark.parametrize(
    ("field", "value"), [("channel", "nightly"), ("arch", "arm64"), ("keyid", STRANGER.keyid)]
)
def test_record_moved_to_another_place(field: str, value: str) -> None:
    with pytest.raises(RecordMisplaced, match=field):
        read(signed(body(**{field: value})))


def test_record_found_where_it_was_not_stored() -> None:
    with pytest.raises(RecordMisplaced, match="channel"):
        read_record(RAW, keyid=PUBLISHER.keyid, channel="nightly", arch=Arch.AMD64, now=NOW)
    with pytest.raises(RecordMisplaced, match="arch"):
        read_record(RAW, keyid=PUBLISHER.keyid, channel="stable", arch=Arch.ARM64, now=NOW)
    with pytest.raises(RecordBadSignature):
        read_record(RAW, keyid=STRANGER.keyid, channel="stable", arch=Arch.AMD64, now=NOW)


def test_an_alias_of_the_architecture_is_another_record() -> None:
    with pytest.raises(RecordMisplaced, match="x86_64"):
        read(signed(body(arch="x86_64")))


def test_signature_of_another_kind_of_document() -> None:
    """A manifest's signature is none of a record, nor the other way round."""
    for message in (manifest.signed_bytes(body()), canonical(body())):
        sig = base64.b64encode(PUBLISHER.sign(message)).decode()
        with pytest.raises(RecordBadSignature):
            read(with_signature(sig))


def test_replay_of_an_expired_record() -> None:
    with pytest.raises(RecordExpired):
        read(signed(body(expires="2025-11-20T00:00:00Z", seq=10**9)))


def test_replay_of_an_older_record_loses_against_the_newer() -> None:
    older, newer = read(signed(body(seq=6, expires="2025-12-31T00:00:00Z"))), read(RAW)
    assert select([newer, older]) is newer


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b"", NotJson),
        (b"[]", NotJson),
        (b"\xff", NotJson),
        (b" " * (MAX_BYTES + 1), TooLarge),
        (RAW + b" " * MAX_BYTES, TooLarge),
        (b'{"a":' * 1000, TooDeep),
        (b'{"seq": 1, "seq": 2}', DuplicateKey),
    ],
)
def test_what_is_no_document_at_all(raw: bytes, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        read(raw)


def test_a_stranger_learns_nothing_about_what_is_wanted() -> None:
    with pytest.raises(RecordBadSignature):
        read(signed(body(channel="nightly", expires="x", seq=-1), STRANGER))


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_mutation_of_any_byte_is_refused_or_changes_nothing_that_is_used(
    at: int, bits: int
) -> None:
    mutated = bytearray(RAW)
    mutated[at] ^= bits
    try:
        found = read(bytes(mutated))
    except Refusal:
        return
    assert signed_bytes(json.loads(mutated)) == signed_bytes(json.loads(RAW))
    assert (found.seq, found.mirrors, found.manifest_cid) == (
        USED.seq,
        USED.mirrors,
        USED.manifest_cid,
    )
