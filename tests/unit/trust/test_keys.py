from __future__ import annotations

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.version import MAX_VERSION_LENGTH, Version
from phase_boot.trust.keys import KEYID_PREFIX, SigningKey, is_signed_by, parse_keyid

# RFC 8032, 7.1, the third test.
SEED = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
PUBLIC = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


def test_signatures_match_rfc_8032() -> None:
    key = SigningKey(SEED)
    assert key.keyid == f"ed25519:{PUBLIC}"
    assert key.seed == SEED
    assert key.sign(b"\xaf\x82") == SIGNATURE
    assert is_signed_by(key.keyid, b"\xaf\x82", SIGNATURE)
    assert not is_signed_by(key.keyid, b"\xaf\x83", SIGNATURE)


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    padded = (SIGNATURE + b"\xaf\x82" + bytes(128))[:size]
    assert not is_signed_by(KEYID_PREFIX + PUBLIC, b"\xaf\x82", padded)


@pytest.mark.parametrize(
    "text",
    ["", PUBLIC, f"ed25519:{PUBLIC[:-1]}", f"ed25519:{PUBLIC}0", f"ed25519:{PUBLIC}\n",
     f" ed25519:{PUBLIC}", f"ed25519:{PUBLIC.upper()}", f"ED25519:{PUBLIC}", f"ed448:{PUBLIC}"],
)  # fmt: skip
def test_a_key_id_has_one_spelling(text: str) -> None:
    assert parse_keyid(f"ed25519:{PUBLIC}") == f"ed25519:{PUBLIC}"
    message = r"^a key id is ed25519: and the 64 lower-case hex digits of the public key$"
    with pytest.raises(ValueError, match=message):
        parse_keyid(text)
    with pytest.raises(ValueError, match=message):
        is_signed_by(text, b"", SIGNATURE)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_seed_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"^a private key is 32 bytes$"):
        SigningKey(bytes(size))


def test_new_keys_differ() -> None:
    keys = {SigningKey.generate().keyid for _ in range(8)}
    assert len(keys) == 8


def test_a_version_is_as_long_as_allowed_and_no_longer() -> None:
    assert MAX_VERSION_LENGTH == 64
    assert str(Version.parse("1" * 64)) == "1" * 64
    message = r"^a version is dotted whole numbers such as 2025\.11\.12$"
    for text in ("1" * 65, "x"):
        with pytest.raises(ValueError, match=message):
            Version.parse(text)


def test_a_version_keeps_its_text_and_compares_its_numbers() -> None:
    one, other = Version.parse("1.02"), Version.parse("1.2")
    assert (one.numbers, one.text) == ((1, 2), "1.02")
    assert one == other
    assert hash(one) == hash(other)
    assert Arch.parse("aarch64") is Arch.ARM64
