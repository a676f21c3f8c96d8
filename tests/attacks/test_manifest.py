"""Attacks by a party between the publisher and the machine."""

from __future__ import annotations

import base64
import json
import re
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phase_boot.drill.sample_manifest import (
    INITRAMFS,
    NOW,
    PUBLISHER,
    UNTRUSTED_KEY,
    document,
    encoded,
    signature,
    signed,
)
from phase_boot.trust.keys import KEYID_PREFIX
from phase_boot.trust.refusals import (
    BadField,
    BadSignature,
    ClockDoubtful,
    DuplicateKey,
    Expired,
    NotANumber,
    Refusal,
    ThresholdNotMet,
    TooLarge,
    TooOld,
    Unsigned,
    UntrustedSigner,
    WrongArchitecture,
    WrongChannel,
)
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import Verified, verify
from tests.support.manifests import REQUIREMENTS, SECOND, TRUST, TRUST_BOTH

GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493


def judge(raw: bytes, trust: Trust = TRUST) -> Verified:
    return verify(raw, trust=trust, requirements=REQUIREMENTS, now=NOW)


def test_tampered_manifest() -> None:
    raw = signed(document()).replace(b'"quiet"', b'"rd.break"')
    with pytest.raises(BadSignature, match=PUBLISHER.keyid[:40]):
        judge(raw)


@pytest.mark.parametrize("field", list(document()))
def test_each_field_is_covered_by_the_signature(field: str) -> None:
    body = document()
    other = document(
        version="2026.1",
        channel="nightly",
        arch="arm64",
        artifacts={**dict.fromkeys(("kernel", "initramfs", "rootfs"), f"sha256:{'0' * 64}")},
        sizes={"kernel": 1, "initramfs": 1, "rootfs": 1},
        issued="2025-11-13T08:00:00Z",
        expires="2099-12-12T08:00:00Z",
        cmdline="init=/bin/sh",
        mirrors=["http://evil.example/"],
    )
    whole = {**body, field: other[field], "signatures": [signature(body)]}
    with pytest.raises(BadSignature):
        judge(encoded(whole))


def test_field_added_after_signing() -> None:
    body = document()
    with pytest.raises(BadSignature):
        judge(encoded({**body, "dags": {}, "signatures": [signature(body)]}))


def test_signature_of_an_untrusted_key() -> None:
    with pytest.raises(UntrustedSigner):
        judge(signed(document(), UNTRUSTED_KEY))


def test_signature_of_an_untrusted_key_under_a_trusted_key_id() -> None:
    body = document()
    forged = {**signature(body, UNTRUSTED_KEY), "keyid": PUBLISHER.keyid}
    with pytest.raises(BadSignature):
        judge(encoded({**body, "signatures": [forged]}))


def test_signature_stripped() -> None:
    with pytest.raises(Unsigned):
        judge(encoded({**document(), "signatures": []}))
    with pytest.raises(Unsigned):
        judge(encoded(document()))


def test_same_key_twice_for_a_threshold_of_two() -> None:
    with pytest.raises(ThresholdNotMet):
        judge(signed(document(), PUBLISHER, PUBLISHER), TRUST_BOTH)


def test_same_key_twice_in_other_spellings() -> None:
    body = document()
    entry = signature(body)
    digits = entry["keyid"].removeprefix(KEYID_PREFIX)
    for alias in (KEYID_PREFIX + digits.upper(), "ED25519:" + digits, entry["keyid"] + " "):
        again = {"keyid": alias, "sig": entry["sig"]}
        with pytest.raises(ThresholdNotMet):
            judge(encoded({**body, "signatures": [entry, again]}), TRUST_BOTH)


def test_threshold_not_met() -> None:
    with pytest.raises(ThresholdNotMet, match="1 trusted"):
        judge(signed(document(), SECOND, UNTRUSTED_KEY), TRUST_BOTH)


def test_a_bad_entry_cannot_hide_good_signatures() -> None:
    body = document()
    bad = {"keyid": PUBLISHER.keyid, "sig": base64.b64encode(b"\0" * 64).decode()}
    raw = encoded({**body, "signatures": [bad, signature(body), signature(body, SECOND)]})
    assert len(judge(raw, TRUST_BOTH).signers) == 2


def test_signature_of_another_kind_of_document() -> None:
    body = document()
    bare = PUBLISHER.sign(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    entry = {"keyid": PUBLISHER.keyid, "sig": base64.b64encode(bare).decode()}
    with pytest.raises(BadSignature):
        judge(encoded({**body, "signatures": [entry]}))


def test_non_canonical_encoding_of_a_signature() -> None:
    body = document()
    entry = signature(body)
    data = base64.b64decode(entry["sig"])
    high_s = int.from_bytes(data[32:], "little") + GROUP_ORDER
    malleable = data[:32] + high_s.to_bytes(32, "little")
    # 64 bytes leave two unused bits before the padding: another letter, the same bytes.
    assert entry["sig"].endswith("==")
    letter = chr(ord(entry["sig"][-3]) + 1)
    for sig in (
        base64.b64encode(malleable).decode(),
        entry["sig"][:-3] + letter + "==",
        entry["sig"].rstrip("="),
        entry["sig"] + "\n",
        entry["sig"][:44] + " " + entry["sig"][44:],
    ):
        with pytest.raises(BadSignature):
            judge(encoded({**body, "signatures": [{**entry, "sig": sig}]}))


def test_small_order_public_key_signs_nothing() -> None:
    weak = KEYID_PREFIX + "01" + "00" * 31
    body = document()
    entry = {"keyid": weak, "sig": base64.b64encode(b"\x01" + b"\0" * 63).decode()}
    with pytest.raises(BadSignature):
        judge(encoded({**body, "signatures": [entry]}), Trust(frozenset({weak}), 1))


def test_manifest_for_another_architecture() -> None:
    with pytest.raises(WrongArchitecture, match="arm64"):
        judge(signed(document(arch="arm64")))


def test_manifest_of_another_channel() -> None:
    with pytest.raises(WrongChannel, match="nightly"):
        judge(signed(document(channel="nightly")))


def test_freeze_on_an_expired_manifest() -> None:
    with pytest.raises(Expired, match="2025-11-13T00:00:00Z"):
        judge(signed(document(expires="2025-11-13T00:00:00Z")))


def test_manifest_from_the_future() -> None:
    with pytest.raises(ClockDoubtful):
        judge(signed(document(issued="2025-11-22T00:00:00Z")))


def test_rollback_below_the_floor() -> None:
    with pytest.raises(TooOld, match=re.escape("2025.09.30")):
        judge(signed(document(version="2025.09.30")))


def test_a_refused_signature_reveals_nothing_about_the_requirements() -> None:
    """An untrusted signature is reported before any other fault of a manifest."""
    with pytest.raises(UntrustedSigner):
        judge(signed(document(arch="arm64", expires="x", version="1"), UNTRUSTED_KEY))


def test_duplicate_key_json() -> None:
    raw = signed(document()).replace(b'"cmdline"', b'"cmdline": "init=/bin/sh", "cmdline"')
    with pytest.raises(DuplicateKey):
        judge(raw)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1.5", b"6e0", b"6.0"])
def test_not_a_whole_number(number: bytes) -> None:
    size = b'"initramfs": %d' % len(INITRAMFS)
    with pytest.raises(NotANumber):
        judge(signed(document()).replace(size, b'"initramfs": ' + number))


def test_ten_megabytes_of_manifest() -> None:
    with pytest.raises(TooLarge):
        judge(signed(document(padding=["x" * 4000] * 2600)))


def test_thousands_of_signatures() -> None:
    body = document()
    with pytest.raises(BadField, match="signatures"):
        judge(encoded({**body, "signatures": [signature(body)] * 33}))


@pytest.mark.parametrize(
    "signatures",
    [{}, "x", 7, [7], [{}], [{"keyid": PUBLISHER.keyid}], [{"keyid": 1, "sig": "x"}]],
)
def test_signatures_of_a_wrong_shape(signatures: object) -> None:
    with pytest.raises((BadField, Unsigned)):
        judge(encoded({**document(), "signatures": signatures}))


RAW: Final = signed(document(motto="la bora"))
USED: Final = judge(RAW).manifest


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
@example(0, 0x5B ^ 0x7B)
def test_mutation_of_any_byte_is_refused_or_changes_nothing_that_is_used(
    at: int, bits: int
) -> None:
    mutated = bytearray(RAW)
    mutated[at] ^= bits
    try:
        verified = judge(bytes(mutated))
    except Refusal:
        return
    assert verified.manifest == USED
    assert verified.signers == (PUBLISHER.keyid,)


@given(st.integers(0, len(RAW)), st.binary(max_size=6), st.integers(0, 40))
def test_cutting_and_inserting_is_refused_or_changes_nothing_that_is_used(
    at: int, inserted: bytes, cut: int
) -> None:
    try:
        verified = judge(RAW[:at] + inserted + RAW[at + cut :])
    except Refusal:
        return
    assert verified.manifest == USED


def test_any_flipped_bit_of_a_signature_is_detected() -> None:
    body = document()
    entry = signature(body)
    good = base64.b64decode(entry["sig"])
    for bit in range(512):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        sig = base64.b64encode(flipped).decode()
        with pytest.raises(BadSignature):
            judge(encoded({**body, "signatures": [{**entry, "sig": sig}]}))
