"""Encrypts a secret under a passphrase: argon2id derives the key, secretbox encrypts.

The cost of a guess is stored beside the box, so that it can be raised for new boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import nacl.exceptions
import nacl.secret
import nacl.utils
from nacl.pwhash import argon2id

SALT_BYTES: Final = argon2id.SALTBYTES
MAX_MEMORY: Final = 2**30
"""Bytes of memory that opening may take: libsodium's "sensitive", four times `MODERATE`."""
MAX_PASSES: Final = 16
"""Passes over that memory: about ten seconds."""
MAX_PASSPHRASE: Final = 1024
"""Bytes."""


class WrongPassphrase(Exception):
    """The passphrase is wrong, or the box was changed."""


class NoMemory(Exception):
    """This machine has less memory than the key derivation takes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one guess of the passphrase.

    Raises:
        ValueError: below the minimum of argon2id, or above the maximum of this module.
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
    """An encrypted secret with the parameters of its key; all of it may be public.

    Raises:
        ValueError: the salt has the wrong length.
    """

    cost: Cost
    salt: bytes
    box: bytes
    """The nonce and the ciphertext."""

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise ValueError(f"a salt is {SALT_BYTES} bytes")


def seal(secret: bytes, passphrase: bytes, cost: Cost = MODERATE) -> Sealed:
    """Encrypt ``secret`` under a new salt.

    Raises:
        ValueError: the passphrase is empty or longer than `MAX_PASSPHRASE`.
        NoMemory: this machine has less memory than ``cost`` takes.
    """
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE:
        raise ValueError(f"a passphrase is 1 to {MAX_PASSPHRASE} bytes")
    salt = nacl.utils.random(SALT_BYTES)
    return Sealed(cost, salt, bytes(_lock(passphrase, salt, cost).encrypt(secret)))


def unseal(sealed: Sealed, passphrase: bytes) -> bytes:
    """Return the secret.

    Raises:
        WrongPassphrase: the passphrase is wrong, or the box was changed.
        NoMemory: this machine has less memory than the box takes.
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
