from __future__ import annotations

import dataclasses

import pytest

from phase_boot.trust.passphrase_box import (
    MAX_MEMORY,
    MAX_PASSES,
    MAX_PASSPHRASE,
    MODERATE,
    Cost,
    Sealed,
    WrongPassphrase,
    seal,
    unseal,
)

CHEAP = Cost(passes=1, memory=8192)
SECRET = b"\x07" * 32


def test_what_is_sealed_opens_with_its_passphrase_only() -> None:
    sealed = seal(SECRET, b"open sesame", CHEAP)
    assert unseal(sealed, b"open sesame") == SECRET
    assert SECRET not in sealed.box
    for wrong in (b"open sesamE", b"open sesame ", b"", b"x" * (MAX_PASSPHRASE + 1)):
        with pytest.raises(WrongPassphrase):
            unseal(sealed, wrong)


def test_sealing_twice_shows_nobody_that_it_was_the_same_secret() -> None:
    first, second = seal(SECRET, b"p", CHEAP), seal(SECRET, b"p", CHEAP)
    assert first.salt != second.salt
    assert first.box != second.box


def test_each_flipped_bit_of_the_box_is_found() -> None:
    sealed = seal(SECRET, b"p", CHEAP)
    for place in range(len(sealed.box) * 8):
        box = bytearray(sealed.box)
        box[place // 8] ^= 1 << place % 8
        with pytest.raises(WrongPassphrase):
            unseal(dataclasses.replace(sealed, box=bytes(box)), b"p")


def test_a_cheaper_or_dearer_opening_does_not_open() -> None:
    sealed = seal(SECRET, b"p", CHEAP)
    for cost in (Cost(2, 8192), Cost(1, 16384)):
        with pytest.raises(WrongPassphrase):
            unseal(dataclasses.replace(sealed, cost=cost), b"p")


@pytest.mark.parametrize("size", [0, 1, 24, 39, 40, 41])
def test_a_box_that_is_cut_short_does_not_open(size: int) -> None:
    sealed = seal(SECRET, b"p", CHEAP)
    with pytest.raises(WrongPassphrase):
        unseal(dataclasses.replace(sealed, box=sealed.box[:size]), b"p")


@pytest.mark.parametrize(
    ("passes", "memory"),
    [
        (0, 8192),
        (-1, 8192),
        (MAX_PASSES + 1, 8192),
        (2**53, 8192),
        (1, 0),
        (1, 8191),
        (1, MAX_MEMORY + 1),
        (1, 2**53),
    ],
)
def test_a_cost_that_nobody_should_pay_is_none(passes: int, memory: int) -> None:
    with pytest.raises(ValueError, match="are not from"):
        Cost(passes, memory)


@pytest.mark.parametrize("size", [0, MAX_PASSPHRASE + 1])
def test_no_passphrase_and_an_endless_one_seal_nothing(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 1024"):
        seal(SECRET, b"x" * size, CHEAP)


def test_a_salt_of_another_length_is_none() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Sealed(CHEAP, b"salt", b"")


def test_what_is_taken_when_nobody_says_otherwise_is_dear() -> None:
    assert (MODERATE.passes, MODERATE.memory) == (3, 256 * 2**20)
