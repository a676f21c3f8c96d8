"""RSA keys of peers, in the place of the library's module of that name.

The bootstrap peers of the public DHT have RSA keys. The library reads them with pycryptodome, a
second cryptographic library of 16 MB; `cryptography`, which noise needs in any case, reads them
too. Keys of this process are of ed25519, so there are no private RSA keys here.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from libp2p.crypto.keys import KeyType, PublicKey

MIN_BITS: Final = 2048
"""Bits of the shortest key, as in go-libp2p."""
MAX_BITS: Final = 4096
"""Bits of the longest key, as in the library: a signature of a longer one takes long to verify."""


class RSAPublicKey(PublicKey):
    """A public key of libp2p's type RSA: its signatures are PKCS #1 v1.5 with SHA-256.

    The specification is "peer-ids" of libp2p.
    """

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        """Take a key of an accepted length."""
        self._key = key

    @classmethod
    def from_bytes(cls, data: bytes) -> RSAPublicKey:
        """Read a SubjectPublicKeyInfo (RFC 5280, section 4.1) in DER.

        Raises:
            ValueError: it is none, or not of an RSA key of 2048 to 4096 bits.
        """
        key = load_der_public_key(data)
        if not isinstance(key, rsa.RSAPublicKey):
            raise ValueError("it is no RSA key")  # noqa: TRY004 - what the data holds, not a type
        if not MIN_BITS <= key.key_size <= MAX_BITS:
            raise ValueError(f"an RSA key of {key.key_size} bits is not accepted")
        return cls(key)

    def to_bytes(self) -> bytes:
        """Return the SubjectPublicKeyInfo, of which a peer id is the hash."""
        return self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def get_type(self) -> KeyType:
        """Return RSA."""
        return KeyType.RSA

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Return whether ``signature`` is one of ``data``."""
        try:
            self._key.verify(signature, data, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True
