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


def test_a_box_opens_only_with_its_passphrase() -> None:
    sealed = seal(SECRET, b"open sesame", CHEAP)
    assert unseal(sealed, b"open sesame") == SECRET
    assert SECRET not in sealed.box
    for wrong in (b"open sesamE", b"open sesame ", b"", b"x" * (MAX_PASSPHRASE + 1)):
        with pytest.raises(WrongPassphrase):
            unseal(sealed, wrong)


def test_sealing_the_same_secret_twice_gives_different_boxes() -> None:
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


def test_a_box_does_not_open_with_another_cost() -> None:
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
def test_a_cost_out_of_bounds_is_refused(passes: int, memory: int) -> None:
    with pytest.raises(ValueError, match="are not from"):
        Cost(passes, memory)


@pytest.mark.parametrize("size", [0, MAX_PASSPHRASE + 1])
def test_an_empty_or_too_long_passphrase_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 1024"):
        seal(SECRET, b"x" * size, CHEAP)


def test_a_salt_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Sealed(CHEAP, b"salt", b"")


def test_the_default_cost_is_high() -> None:
    assert (MODERATE.passes, MODERATE.memory) == (3, 256 * 2**20)
