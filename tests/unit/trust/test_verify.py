from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import NOW, PUBLISHER, UNTRUSTED_KEY, document, signed
from phase_boot.trust.keys import SigningKey, is_signed_by, parse_keyid
from phase_boot.trust.refusals import (
    ClockDoubtful,
    Expired,
    TooOld,
    WrongArchitecture,
    WrongChannel,
)
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import SKEW, BootRequirements, Verified, verify
from tests.support.manifests import REQUIREMENTS, SECOND, TRUST, TRUST_BOTH


def test_a_signed_current_manifest_for_this_machine_is_verified() -> None:
    raw = signed(document())
    verified = verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW)
    assert verified.raw == raw
    assert verified.digest == Digest.of(raw)
    assert verified.signers == (PUBLISHER.keyid,)
    assert verified.manifest.version == Version.parse("2025.11.12")


def test_an_untrusted_signature_beside_a_trusted_one_is_ignored() -> None:
    raw = signed(document(), UNTRUSTED_KEY, PUBLISHER)
    assert verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW).signers == (
        PUBLISHER.keyid,
    )


def test_two_trusted_keys_meet_a_threshold_of_two() -> None:
    raw = signed(document(), PUBLISHER, SECOND)
    verified = verify(raw, trust=TRUST_BOTH, requirements=REQUIREMENTS, now=NOW)
    assert set(verified.signers) == {PUBLISHER.keyid, SECOND.keyid}


def test_only_verify_creates_a_verified_manifest() -> None:
    verified = verify(signed(document()), trust=TRUST, requirements=REQUIREMENTS, now=NOW)
    with pytest.raises(TypeError, match=r"^only phase_boot\.trust\.verify makes a Verified$"):
        Verified(verified.found, verified.raw)
    with pytest.raises(AttributeError, match=r"^a Verified is immutable: raw$"):
        verified.raw = b"other"
    assert repr(verified) == "Verified(stable amd64 2025.11.12)"


def test_the_last_second_is_valid_and_the_next_expired() -> None:
    expires = NOW.replace(year=2026)
    raw = signed(document(expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ")))
    assert verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=expires - timedelta(seconds=1))
    with pytest.raises(Expired):
        verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=expires)


def test_a_clock_in_local_time_is_accepted_and_a_day_more_is_doubtful() -> None:
    issued = verify(
        signed(document()), trust=TRUST, requirements=REQUIREMENTS, now=NOW
    ).manifest.issued
    assert verify(signed(document()), trust=TRUST, requirements=REQUIREMENTS, now=issued - SKEW)
    with pytest.raises(ClockDoubtful) as refused:
        verify(signed(document()), trust=TRUST, requirements=REQUIREMENTS, now=issued - SKEW * 2)
    assert refused.value.code != Expired.code


def test_channel_and_architecture_are_checked_before_dates() -> None:
    stale = {"expires": "2025-11-13T00:00:00Z", "version": "1"}
    elsewhere = signed(document(arch="arm64", channel="nightly", **stale))
    with pytest.raises(WrongArchitecture):
        verify(elsewhere, trust=TRUST, requirements=REQUIREMENTS, now=NOW)
    with pytest.raises(WrongChannel):
        verify(
            signed(document(channel="nightly", **stale)),
            trust=TRUST,
            requirements=REQUIREMENTS,
            now=NOW,
        )
    with pytest.raises(Expired):
        verify(signed(document(**stale)), trust=TRUST, requirements=REQUIREMENTS, now=NOW)
    with pytest.raises(TooOld):
        verify(signed(document(version="1")), trust=TRUST, requirements=REQUIREMENTS, now=NOW)


def test_the_kernels_name_of_an_architecture_is_accepted() -> None:
    raw = signed(document(arch="x86_64"))
    assert verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW).manifest.arch is Arch.AMD64


@pytest.mark.parametrize(
    ("keys", "threshold"),
    [
        (frozenset(), 0),
        (frozenset(), 1),
        (frozenset({PUBLISHER.keyid}), 0),
        (frozenset({PUBLISHER.keyid}), -1),
        (frozenset({PUBLISHER.keyid}), 2),
        (frozenset({PUBLISHER.keyid.upper()}), 1),
        (frozenset({"ed25519:" + "0" * 63}), 1),
        (frozenset({""}), 1),
    ],
)
def test_a_threshold_of_zero_or_above_the_number_of_keys_is_an_error(
    keys: frozenset[str], threshold: int
) -> None:
    with pytest.raises(ValueError, match="key"):
        Trust(keys=keys, threshold=threshold)


def test_an_invalid_required_channel_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^a channel is 1 to 32 of a-z, 0-9 and -$"):
        BootRequirements(arch=Arch.AMD64, channel="../stable", min_version=Version.parse("1"))


def test_a_signature_verifies_with_the_key_id_of_its_key() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"message")
    assert parse_keyid(key.keyid) == key.keyid
    assert is_signed_by(key.keyid, b"message", signature)
    assert not is_signed_by(key.keyid, b"massage", signature)
    assert not is_signed_by(SigningKey.generate().keyid, b"message", signature)
    assert not is_signed_by(key.keyid, b"message", signature[:-1])
    assert SigningKey(key.seed).keyid == key.keyid
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(b"short")


def test_the_last_second_that_a_date_can_name_is_judged_like_any_other() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    with pytest.raises(Expired):
        verify(signed(document()), trust=TRUST, requirements=REQUIREMENTS, now=last)
    ends = document(issued="9999-12-31T23:59:58Z", expires="9999-12-31T23:59:59Z")
    with pytest.raises(ClockDoubtful):
        verify(signed(ends), trust=TRUST, requirements=REQUIREMENTS, now=NOW)
