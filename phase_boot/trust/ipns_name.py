"""IPNS names of ed25519 keys (IPNS specification, section "IPNS Name"; libp2p peer ids).

A name is a CID: version 1, codec libp2p-key, and an identity multihash of the public key in the
protobuf form of libp2p. One form is accepted: base36, so that a name has exactly one spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from phase_boot.trust.keys import KEYID_PREFIX, parse_keyid

NAME_CHARACTERS: Final = 62
_BASE36: Final = "k"
"""The multibase prefix of lower-case base36."""
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_SHAPE: Final = re.compile(rf"k[0-9a-z]{{{NAME_CHARACTERS - 1}}}")
_CID: Final = b"\x01\x72"
"""CIDv1, codec libp2p-key."""
_PEER: Final = b"\x00\x24\x08\x01\x12\x20"
"""Identity multihash of 36 bytes: a PublicKey of type Ed25519 with 32 bytes of data."""
_NAME_BYTES: Final = len(_CID) + len(_PEER) + 32


@dataclass(frozen=True, slots=True)
class IpnsName:
    """The IPNS name of a key; ``str`` writes its 62 characters.

    Raises:
        ValueError: ``keyid`` is not a key id.
    """

    keyid: str

    def __post_init__(self) -> None:
        parse_keyid(self.keyid)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the base36 form; raise ValueError for any other, and for keys of another type."""
        if not _SHAPE.fullmatch(text):
            raise ValueError(f"an IPNS name is k and {NAME_CHARACTERS - 1} characters of base36")
        # In network byte order; 61 digits of base 36 are less than 40 bytes can hold.
        data = int(text.removeprefix(_BASE36), 36).to_bytes(_NAME_BYTES)
        head = _CID + _PEER
        if not data.startswith(head):
            raise ValueError("an IPNS name is of an ed25519 key, so it starts with k51")
        return cls(KEYID_PREFIX + data.removeprefix(head).hex())

    @property
    def routing_key(self) -> bytes:
        """The key of its record in a DHT: ``/ipns/`` and the 38 bytes of the peer id."""
        return b"/ipns/" + self._peer_id

    @property
    def _peer_id(self) -> bytes:
        return _PEER + bytes.fromhex(self.keyid.removeprefix(KEYID_PREFIX))

    def __str__(self) -> str:
        number, digits = int.from_bytes(_CID + self._peer_id), ""
        while number:
            number, digit = divmod(number, len(_DIGITS))
            digits = _DIGITS[digit] + digits
        return _BASE36 + digits
