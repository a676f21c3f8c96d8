"""ed25519 keys: their names, what they sign, and whether they did."""

from __future__ import annotations

import re
from typing import Final, Self

import nacl.exceptions
import nacl.signing

KEYID_PREFIX: Final = "ed25519:"
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_KEYID: Final = re.compile(r"ed25519:[0-9a-f]{64}")


def parse_keyid(text: str) -> str:
    """Return ``text`` if it is ``ed25519:`` and 64 lower-case hex digits; else raise ValueError."""
    if not _KEYID.fullmatch(text):
        raise ValueError("a key id is ed25519: and the 64 lower-case hex digits of the public key")
    return text


def is_signed_by(keyid: str, message: bytes, signature: bytes) -> bool:
    """Say whether the key that ``keyid`` spells out signed ``message``.

    libsodium refuses small-order keys and any encoding of a signature but the canonical one.
    """
    public = bytes.fromhex(parse_keyid(keyid).removeprefix(KEYID_PREFIX))
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        nacl.signing.VerifyKey(public).verify(message, signature)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


class SigningKey:
    """A publisher's private key, in memory."""

    def __init__(self, seed: bytes) -> None:
        """Take the 32 secret bytes; raise ValueError for another number of them."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a private key is {SEED_BYTES} bytes")
        self._key = nacl.signing.SigningKey(seed)

    @classmethod
    def generate(cls) -> Self:
        """Make a new key from the system's random numbers."""
        return cls(bytes(nacl.signing.SigningKey.generate()))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return bytes(self._key)

    @property
    def keyid(self) -> str:
        """The public name: ``ed25519:`` and the public key in hex."""
        return KEYID_PREFIX + bytes(self._key.verify_key).hex()

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature over ``message``."""
        return self._key.sign(message).signature
