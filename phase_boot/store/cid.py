"""CIDv1 of small whole files, as `ipfs add --cid-version 1 --raw-leaves` names them."""

from __future__ import annotations

import base64
from typing import Final

from phase_boot.store.digest import Digest

# CID version 1, codec raw (0x55), multihash sha2-256 (0x12) of 32 bytes (0x20).
_RAW_SHA256: Final = bytes((0x01, 0x55, 0x12, 0x20))
_MULTIBASE_BASE32: Final = "b"


def raw_cid(digest: Digest) -> str:
    """Return the base32 CIDv1 of the raw block that has ``digest``."""
    encoded = base64.b32encode(_RAW_SHA256 + bytes.fromhex(digest.hex)).decode("ascii")
    return _MULTIBASE_BASE32 + encoded.rstrip("=").lower()


def digest_of_cid(cid: str) -> Digest:
    """Return the digest inside a base32 CIDv1 of a raw sha2-256 block.

    Raises:
        ValueError: the text is another kind of CID, or none at all.
    """
    body = cid.removeprefix(_MULTIBASE_BASE32)
    if body == cid or not body.isascii() or body != body.lower():
        raise ValueError("not a lower-case base32 CIDv1")
    data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    if data[:4] != _RAW_SHA256:
        raise ValueError("not the CID of a raw sha2-256 block")
    digest = Digest(data[4:].hex())
    if raw_cid(digest) != cid:
        raise ValueError("not the canonical spelling of a CID")
    return digest
