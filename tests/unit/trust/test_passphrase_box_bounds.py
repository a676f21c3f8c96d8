"""The bounds of cost and size for sealing and opening."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phase_boot.trust.passphrase_box import (
    MAX_MEMORY,
    MAX_PASSES,
    MAX_PASSPHRASE,
    Cost,
    NoMemory,
    Sealed,
    WrongPassphrase,
    seal,
    unseal,
)

CHEAP = Cost(passes=1, memory=8192)


@contextmanager
def little_memory() -> Iterator[None]:
    """Leave this process 256 MiB more of addresses than it has now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 2**28
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_too_little_memory_for_opening_is_reported() -> None:
    dear = Cost(passes=1, memory=MAX_MEMORY)
    sealed = seal(b"secret", b"passphrase", CHEAP)
    with little_memory():
        with pytest.raises(NoMemory):
            seal(b"secret", b"passphrase", dear)
        with pytest.raises(NoMemory):
            unseal(Sealed(dear, sealed.salt, sealed.box), b"passphrase")


def test_the_bounds_themselves_are_allowed() -> None:
    assert Cost(MAX_PASSES, MAX_MEMORY).passes == 16
    assert Cost(1, 8192).memory == 8192
    for passphrase in (b"p", b"p" * MAX_PASSPHRASE):
        assert unseal(seal(b"s", passphrase, CHEAP), passphrase) == b"s"


@pytest.mark.parametrize(
    ("passes", "memory", "message"),
    [
        (0, 8192, "0 passes are not from 1 to 16"),
        (17, 8192, "17 passes are not from 1 to 16"),
        (1, 8191, "8191 bytes of memory are not from 8192 to 1073741824"),
        (1, MAX_MEMORY + 1, "1073741825 bytes of memory are not from 8192 to 1073741824"),
    ],
)
def test_a_cost_out_of_bounds_is_refused_with_its_bounds(
    passes: int, memory: int, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Cost(passes, memory)


def test_an_input_that_cannot_be_sealed_is_refused_with_its_bounds() -> None:
    with pytest.raises(ValueError, match=r"^a passphrase is 1 to 1024 bytes$"):
        seal(b"s", b"", CHEAP)
    with pytest.raises(ValueError, match=r"^a salt is 16 bytes$"):
        Sealed(CHEAP, b"x" * 15, b"")
    with pytest.raises(ValueError, match=r"^a salt is 16 bytes$"):
        Sealed(CHEAP, b"x" * 17, b"")


def test_a_passphrase_that_could_not_have_sealed_it_opens_nothing() -> None:
    sealed = seal(b"s", b"p", CHEAP)
    for passphrase in (b"", b"p" * (MAX_PASSPHRASE + 1)):
        with pytest.raises(WrongPassphrase):
            unseal(sealed, passphrase)


def test_secrets_of_any_length_round_trip() -> None:
    for secret in (b"", b"s", bytes(range(256)) * 8):
        assert unseal(seal(secret, b"p", CHEAP), b"p") == secret
