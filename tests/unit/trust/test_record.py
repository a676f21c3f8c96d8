from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import NOW, PUBLISHER
from phase_boot.trust.claims import CLAIM_REFUSALS
from phase_boot.trust.fields import MAX_MIRRORS
from phase_boot.trust.record import (
    MAX_PROVIDERS,
    RECORD_REFUSALS,
    Record,
    RecordExpired,
    read_record,
    record_key,
    select,
    sign_record,
)
from phase_boot.trust.refusals import REFUSALS, BadField, Refusal, TooLarge
from phase_boot.trust.strict_json import MAX_INTEGER, read_document
from tests.support.dht_records import MANIFEST, body, read, signed
from tests.support.manifests import SECOND

EXPIRES = NOW + timedelta(days=2)


def made(seq: int = 7, expires: datetime = EXPIRES, mirrors: tuple[str, ...] = ()) -> bytes:
    return sign_record(
        PUBLISHER,
        channel="stable",
        arch=Arch.AMD64,
        manifest_cid=MANIFEST,
        mirrors=mirrors,
        providers=("/ip6/2001:db8::7/udp/4001/quic-v1/p2p/12D3KooW", "/p2p/12D3KooW"),
        seq=seq,
        expires=expires,
    )


def test_what_was_signed_is_read() -> None:
    raw = made(mirrors=("http://[2001:db8::7]:8080/boot", "https://mirror.example"))
    assert read(raw) == Record(
        manifest_cid=MANIFEST,
        mirrors=("http://[2001:db8::7]:8080/boot", "https://mirror.example"),
        providers=("/ip6/2001:db8::7/udp/4001/quic-v1/p2p/12D3KooW", "/p2p/12D3KooW"),
        seq=7,
        expires=EXPIRES,
        raw=raw,
    )


def test_the_same_record_has_the_same_bytes() -> None:
    assert made() == made()
    assert read(made()).raw == made()


def test_a_field_of_a_later_version_is_signed_and_otherwise_ignored() -> None:
    assert read(signed(body(motto="la bora"))).seq == 7


def test_the_last_second_is_valid_and_the_next_expired() -> None:
    assert read(made(), now=EXPIRES - timedelta(seconds=1))
    with pytest.raises(RecordExpired, match="2025-11-22T00:00:00Z"):
        read(made(), now=EXPIRES)


def test_a_record_that_readers_would_refuse_is_not_signed() -> None:
    with pytest.raises(BadField, match="mirrors"):
        made(mirrors=("ftp://mirror.example",))
    with pytest.raises(BadField, match="seq"):
        made(seq=-1)
    with pytest.raises(TooLarge):
        made(mirrors=tuple(f"https://{'m' * 255}/{'p' * 255}" for _ in range(MAX_MIRRORS)))


def test_local_time_is_written_as_utc() -> None:
    local = EXPIRES.astimezone(tz=None)
    assert made(expires=local) == made()
    assert read_document(made())["expires"] == "2025-11-22T00:00:00Z"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("manifest_cid", None),
        ("manifest_cid", 7),
        ("manifest_cid", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"),
        ("manifest_cid", "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"),
        ("mirrors", None),
        ("mirrors", "https://mirror.example"),
        ("mirrors", ["https://mirror.example"] * (MAX_MIRRORS + 1)),
        ("mirrors", ["file:///etc/passwd"]),
        ("mirrors", ["https://mirror.example/\u200b"]),
        ("mirrors", ["https://mirror.example/ x"]),
        ("mirrors", [7]),
        ("providers", None),
        ("providers", {}),
        ("providers", ["/p2p/12D3KooW"] * (MAX_PROVIDERS + 1)),
        ("providers", ["12D3KooW"]),
        ("providers", ["/p2p/"]),
        ("providers", ["/ip4/192.0.2.7/tcp/1" * 4]),
        ("providers", ["/p2p/12D3KooW\n"]),
        ("providers", [["/p2p/12D3KooW"]]),
        ("seq", None),
        ("seq", -1),
        ("seq", True),
        ("seq", "7"),
        ("expires", None),
        ("expires", 7),
        ("expires", "tomorrow"),
        ("expires", "2025-11-21T00:00:00+02:00"),
        ("expires", "2025-02-30T00:00:00Z"),
        ("channel", None),
        ("arch", 64),
        ("keyid", []),
    ],
)
def test_a_field_that_is_missing_or_of_another_kind_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadField, match=re.escape(field)):
        read(signed(body(**{field: value})))


def test_the_limits_themselves_are_allowed() -> None:
    record = read(signed(body(seq=MAX_INTEGER, mirrors=[], providers=[])))
    assert (record.seq, record.mirrors, record.providers) == (MAX_INTEGER, (), ())
    assert read(signed(body(seq=0))).seq == 0


@given(st.permutations([made(seq) for seq in (3, 9, 4, 9)] + [made(9, EXPIRES + timedelta(1))]))
def test_the_highest_sequence_wins_and_then_the_later_expiry(raws: list[bytes]) -> None:
    assert select(map(read, raws)).raw == made(9, EXPIRES + timedelta(1))


def test_two_records_of_one_sequence_are_chosen_from_alike_by_everybody() -> None:
    one, other = read(made(mirrors=("https://a.example",))), read(made())
    assert select([one, other]) == select([other, one])


def test_none_is_selected_from_nothing() -> None:
    with pytest.raises(ValueError, match="empty"):
        select([])


def test_the_key_is_short_enough_to_be_routed_and_differs_for_each_place() -> None:
    places = list(
        itertools.product(
            (PUBLISHER.keyid, SECOND.keyid), ("stable", "stable-amd64", "stable-"), Arch
        )
    )
    keys = {record_key(*place) for place in places}
    assert len(keys) == len(places)
    assert all(re.fullmatch(r"/phase/[A-Za-z0-9_-]{43}", key) for key in keys)


def test_the_key_never_changes() -> None:
    assert record_key(PUBLISHER.keyid, "stable", Arch.AMD64) == (
        "/phase/Siow2BM-rsl69pZk5c7keUXF5HmtcDikBXeq0eM44JU"
    )


def test_no_key_is_made_of_what_is_no_place() -> None:
    with pytest.raises(ValueError, match="key id"):
        record_key("ed25519:", "stable", Arch.AMD64)
    with pytest.raises(ValueError, match="channel"):
        record_key(PUBLISHER.keyid, 'a","b', Arch.AMD64)
    with pytest.raises(ValueError, match="key id"):
        read_record(made(), keyid="nobody", channel="stable", arch=Arch.AMD64, now=NOW)


def test_each_refusal_has_its_own_code_and_one_sentence() -> None:
    facts = dict.fromkeys(("keyid", "field", "found", "wanted", "expires"), "x")
    codes = [refusal.code for refusal in (*REFUSALS, *CLAIM_REFUSALS, *RECORD_REFUSALS)]
    assert len(set(codes)) == len(codes)
    for refusal in RECORD_REFUSALS:
        assert issubclass(refusal, Refusal)
        text = str(refusal(**facts, now=datetime.now(UTC)))
        assert re.fullmatch(r"[A-Z][^.]*: [^.]*\.", text), text
