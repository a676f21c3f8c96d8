"""Peer ids of libp2p: the multihash of a public key (specification "Peer Ids and Keys").

One spelling is accepted: base58btc, `12D3Koo…` for an ed25519 key and `Qm…` for the digest of an
RSA key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

MAX_CHARACTERS: Final = 60
_MAX_KEY: Final = 42
"""Bytes of the longest key that is its own multihash."""
_DIGEST: Final = b"\x12\x20"
"""The multihash prefix of sha2-256."""
_DIGEST_BYTES: Final = 34
_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE: Final = len(_ALPHABET)


@dataclass(frozen=True, slots=True, order=True)
class PeerId:
    """The id of a peer; ``str`` writes it in base58.

    Raises:
        ValueError: ``multihash`` is neither a sha2-256 digest nor a short key itself.
    """

    multihash: bytes

    def __post_init__(self) -> None:
        data = self.multihash
        digest = len(data) == _DIGEST_BYTES and data.startswith(_DIGEST)
        key = 2 < len(data) <= _MAX_KEY and data[0] == 0 and data[1] == len(data) - 2  # noqa: PLR2004 - the two bytes before the key
        if not (digest or key):
            raise ValueError("a peer id is a sha2-256 digest or a short key")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the base58 form; raise ValueError otherwise."""
        if not 0 < len(text) <= MAX_CHARACTERS or not set(text) <= set(_ALPHABET):
            raise ValueError("a peer id is written in base58 and starts with 12D3Koo or Qm")
        number = 0
        for character in text:
            number = number * _BASE + _ALPHABET.index(character)
        zeros = len(text) - len(text.lstrip(_ALPHABET[0]))
        return cls(bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8))

    def __str__(self) -> str:
        number, text = int.from_bytes(self.multihash), ""
        while number:
            number, digit = divmod(number, _BASE)
            text = _ALPHABET[digit] + text
        zeros = len(self.multihash) - len(self.multihash.lstrip(b"\0"))
        return _ALPHABET[0] * zeros + text
