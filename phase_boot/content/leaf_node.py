"""A fast parser for the nodes right above the leaves, of which a large file has a thousand.

It accepts only what ``dag_pb.read`` accepts: it guesses the fields by their offsets, encodes the
result again and compares the bytes.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from phase_boot.content import varint
from phase_boot.content.dag_pb import MAX_BLOCK, MAX_LINKS

Leaf: TypeAlias = tuple[bytes, int]
"""The sha256 and size of a raw block."""
_LINK: Final = 0x12
_CID: Final = b"\x0a\x24\x01\x55\x12\x20"
"""The start of the hash field of a link: a CIDv1 of raw bytes with the sha2-256 that follows."""
_NAMELESS: Final = b"\x12\x00\x18"
_FILE: Final = b"\x08\x02\x18"
_BLOCKSIZE: Final = b"\x20"
_DIGEST: Final = slice(len(_CID) + 2, len(_CID) + 2 + 32)
_SIZE: Final = _DIGEST.stop + len(_NAMELESS)


def parse_leaf_node(block: bytes) -> list[Leaf] | None:
    """Return the leaves of a node that links only leaves, or None for any other block.

    After None the caller uses ``dag_pb.read``, which reports what is wrong.
    """
    leaves, at = list[Leaf](), 0
    try:
        while block[at] == _LINK:
            size, end = varint.decode(block, at + _SIZE)
            leaves.append((block[at + _DIGEST.start : at + _DIGEST.stop], size))
            if not 0 < size <= MAX_BLOCK or len(leaves) > MAX_LINKS:
                return None
            at = end
    except (IndexError, EOFError, ValueError):
        return None
    return leaves if leaves and block == _encode(leaves) else None


def _encode(leaves: list[Leaf]) -> bytes:
    sizes = [varint.encode(size) for _, size in leaves]
    links = b"".join(
        b"".join((b"\x12", bytes((len(_CID) + 35 + len(size),)), _CID, digest, _NAMELESS, size))
        for (digest, _), size in zip(leaves, sizes, strict=True)
    )
    total = varint.encode(sum(size for _, size in leaves))
    content = b"".join((_FILE, total, *(_BLOCKSIZE + size for size in sizes)))
    return b"".join((links, b"\x0a", varint.encode(len(content)), content))
