"""ed25519 keys: key ids, signing and verification (RFC 8032)."""

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
    """Return whether ``signature`` is one of ``message`` by the public key in ``keyid``.

    libsodium refuses small-order keys and non-canonical encodings of a signature.
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
        """Take the seed of 32 bytes; raise ValueError for any other length."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a private key is {SEED_BYTES} bytes")
        self._key = nacl.signing.SigningKey(seed)

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the random numbers of the system."""
        return cls(bytes(nacl.signing.SigningKey.generate()))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return bytes(self._key)

    @property
    def keyid(self) -> str:
        """The key id: ``ed25519:`` and the public key in hex."""
        return KEYID_PREFIX + bytes(self._key.verify_key).hex()

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature over ``message``."""
        return self._key.sign(message).signature
