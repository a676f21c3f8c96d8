"""IPNS names: one spelling for each key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.trust.ipns_name import NAME_CHARACTERS, IpnsName

KEY = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
NAME = IpnsName(f"ed25519:{KEY.hex()}")
TEXT = "k51qzi5uqu5dg9ufswxt229ntzdy7p4125xzv5rtyjso89ajdujg6csfxcj260"
"""What kubo 0.43.1 calls this key."""
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def spelled(data: bytes) -> str:
    """Return the base36 of ``data``, as long as a name is."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
    return "k" + text.rjust(NAME_CHARACTERS - 1, "0")


def test_a_name_is_written_as_kubo_writes_it() -> None:
    assert str(NAME) == TEXT
    assert len(TEXT) == NAME_CHARACTERS
    assert IpnsName.parse(TEXT) == NAME


def test_the_routing_key_is_the_peer_id_below_ipns() -> None:
    assert NAME.routing_key == b"/ipns/" + bytes.fromhex("002408011220") + KEY


@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_a_name_that_is_read_back(key: bytes) -> None:
    name = IpnsName(f"ed25519:{key.hex()}")
    assert str(name) == spelled(bytes.fromhex("0172002408011220") + key)
    assert IpnsName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        TEXT[:-1],
        TEXT + "0",
        TEXT + "\n",
        TEXT.upper(),
        "K" + TEXT[1:],
        "k0" + TEXT[1:],
        "k+" + TEXT[2:],
        "k_" + TEXT[2:],
        "k" + "\u0661" * 61,
        "z" + TEXT[1:],
        f"/ipns/{TEXT}",
        "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw",
        "bafzaajaiaejca" + "a" * 48,
        "k" + "z" * 61,
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^an IPNS name is (k and 61 characters|of an ed25519)"):
        IpnsName.parse(text)


@pytest.mark.parametrize(
    "head",
    [
        "0072002408011220",  # another version of CID
        "0155002408011220",  # raw bytes
        "0172122408011220",  # sha2-256
        "0172002308011220",  # another length
        "0172002408001220",  # RSA
        "0172002408021220",  # secp256k1
    ],
)
def test_a_key_of_another_type_is_refused(head: str) -> None:
    with pytest.raises(
        ValueError, match=r"^an IPNS name is of an ed25519 key, so it starts with k51$"
    ):
        IpnsName.parse(spelled(bytes.fromhex(head) + KEY))


@pytest.mark.parametrize("keyid", ["", KEY.hex(), f"ed25519:{KEY.hex().upper()}", "ed25519:00"])
def test_a_name_is_of_a_key_id(keyid: str) -> None:
    with pytest.raises(ValueError, match="a key id is"):
        IpnsName(keyid)
