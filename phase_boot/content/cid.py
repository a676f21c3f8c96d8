"""CIDs, the content identifiers by which IPFS names blocks.

One form is accepted: CIDv1, lower-case base32, sha2-256, raw or dag-pb. A CID thus has exactly one
spelling, and two different texts never name the same block.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final, Self

from phase_boot.content.digest import Digest

CID_BYTES: Final = 36
CID_CHARACTERS: Final = 59
_BASE32: Final = "b"
"""The multibase prefix of lower-case base32 without padding."""
_VERSION: Final = 0x01
_SHA256: Final = b"\x12\x20"
"""The multihash prefix of sha2-256: its code, and a length of 32 bytes."""


@unique
class Codec(IntEnum):
    """The format of a block, as its multicodec number."""

    RAW = 0x55
    """Bytes of a file, without any framing."""
    DAG_PB = 0x70
    """A node with links to other blocks."""


@dataclass(frozen=True, slots=True, order=True)
class Cid:
    """A CIDv1: the format of a block, and the sha256 of its bytes."""

    codec: Codec
    digest: Digest

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the base32 text form.

        Raises:
            ValueError: another version, base, codec or hash, or not the canonical spelling.
        """
        # The length is checked first, so a longer text is never decoded.
        if len(text) != CID_CHARACTERS or not text.startswith(_BASE32) or not text.isascii():
            raise ValueError(f"a CID here is b and {CID_CHARACTERS - 1} characters of base32")
        body = text.removeprefix(_BASE32)
        cid = cls.from_bytes(base64.b32decode(body.upper() + "=" * (-len(body) % 8)))
        if str(cid) != text:
            raise ValueError("a CID has one spelling: lower-case base32 without stray bits")
        return cid

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the binary form, as links and CAR files hold it; raise ValueError otherwise."""
        if len(data) != CID_BYTES or data[0] != _VERSION or data[2:4] != _SHA256:
            raise ValueError("a CID here is version 1, with a sha2-256 of 32 bytes")
        try:
            codec = Codec(data[1])
        except ValueError:
            raise ValueError(f"a CID here is of raw bytes or dag-pb, not {data[1]:#x}") from None
        return cls(codec, Digest(data[4:].hex()))

    @classmethod
    def of(cls, codec: Codec, block: bytes) -> Self:
        """Return the CID of ``block`` in the format ``codec``."""
        return cls(codec, Digest.of(block))

    def __bytes__(self) -> bytes:
        return bytes((_VERSION, self.codec)) + _SHA256 + bytes.fromhex(self.digest.hex)

    def __str__(self) -> str:
        return _BASE32 + base64.b32encode(bytes(self)).decode("ascii").rstrip("=").lower()


def raw_cid(digest: Digest) -> str:
    """Return the text form of the CID of the raw block with this digest."""
    return str(Cid(Codec.RAW, digest))
