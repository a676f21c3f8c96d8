"""A secret under a passphrase: argon2id makes the key, secretbox locks. Bytes in, bytes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import nacl.exceptions
import nacl.secret
import nacl.utils
from nacl.pwhash import argon2id

SALT_BYTES: Final = argon2id.SALTBYTES
MAX_MEMORY: Final = 2**30
"""Bytes that opening may take: what libsodium calls sensitive, four times what we take."""
MAX_PASSES: Final = 16
"""Passes over that memory: some ten seconds at the very most."""
MAX_PASSPHRASE: Final = 1024
"""Bytes."""


class WrongPassphrase(Exception):
    """The passphrase does not open the box, or the box was changed."""


class NoMemory(Exception):
    """This machine has not the memory that opening takes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess of the passphrase takes.

    Raises:
        ValueError: less than argon2id can do, or more than anybody should be made to spend.
    """

    passes: int
    memory: int
    """Bytes."""

    def __post_init__(self) -> None:
        if not argon2id.OPSLIMIT_MIN <= self.passes <= MAX_PASSES:
            raise ValueError(f"{self.passes} passes are not from 1 to {MAX_PASSES}")
        if not argon2id.MEMLIMIT_MIN <= self.memory <= MAX_MEMORY:
            raise ValueError(
                f"{self.memory} bytes of memory are not from {argon2id.MEMLIMIT_MIN} "
                f"to {MAX_MEMORY}"
            )


MODERATE: Final = Cost(argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE)
"""256 MiB and about half a second."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A locked secret and how to open it; nothing of it needs to be kept secret.

    Raises:
        ValueError: the salt has the wrong length.
    """

    cost: Cost
    salt: bytes
    box: bytes
    """The nonce and the locked bytes."""

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise ValueError(f"a salt is {SALT_BYTES} bytes")


def seal(secret: bytes, passphrase: bytes, cost: Cost = MODERATE) -> Sealed:
    """Lock ``secret``, under a new salt each time.

    Raises:
        ValueError: the passphrase is empty or over-long.
        NoMemory: this machine has less than ``cost`` asks for.
    """
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE:
        raise ValueError(f"a passphrase is 1 to {MAX_PASSPHRASE} bytes")
    salt = nacl.utils.random(SALT_BYTES)
    return Sealed(cost, salt, bytes(_lock(passphrase, salt, cost).encrypt(secret)))


def unseal(sealed: Sealed, passphrase: bytes) -> bytes:
    """Return the secret.

    Raises:
        WrongPassphrase: it does not open the box, or one bit of the box was changed.
        NoMemory: this machine has less than the box asks for.
    """
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE:
        raise WrongPassphrase
    lock = _lock(passphrase, sealed.salt, sealed.cost)
    try:
        return lock.decrypt(sealed.box)
    except nacl.exceptions.CryptoError:
        raise WrongPassphrase from None


def _lock(passphrase: bytes, salt: bytes, cost: Cost) -> nacl.secret.SecretBox:
    size = nacl.secret.SecretBox.KEY_SIZE
    try:
        key = argon2id.kdf(size, passphrase, salt, opslimit=cost.passes, memlimit=cost.memory)
    except nacl.exceptions.CryptoError:
        raise NoMemory from None
    return nacl.secret.SecretBox(key)
