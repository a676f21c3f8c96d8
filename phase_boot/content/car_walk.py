"""Verifies the CAR of a byte range of a file while it arrives, and returns the bytes.

The CAR has the blocks on the way from the root to the range, depth first, and the leaves of the
range (https://specs.ipfs.tech/http-gateways/trustless-gateway/, `dag-scope=entity` with
`entity-bytes`). The walk expects each block by its CID, so one that is missing, wrong, out of order
or not requested is refused. A block that occurs again may be sent again or be left out (IPIP-412).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from phase_boot.content import car, varint
from phase_boot.content.car import BadCar
from phase_boot.content.cid import CID_BYTES, Cid, Codec
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import (
    IndexMismatch,
    InvalidDag,
    parse_leaf_node,
    read_block,
    read_node,
)

MAX_SEEN: Final = 4 * 1024 * 1024
"""Bytes of the last blocks that are kept, in case that one occurs again and is left out."""
MAX_WAITING: Final = 1 << 16
"""Links that wait for their blocks, at most: those of the nodes on one way down."""
_LONGEST_START: Final = varint.MAX_BYTES + CID_BYTES


@dataclass(frozen=True, slots=True)
class _Expected:
    """A block that is expected, with its range of the file."""

    cid: Cid
    offset: int
    size: int


class CarWalk:
    """Takes the pieces of one CAR in order, of any sizes.

    In memory are one piece, one block, the blocks of `MAX_SEEN`, and the links of the nodes on the
    way down.
    """

    def __init__(self, root: Cid, size: int, offset: int, length: int) -> None:
        """Expect ``length`` bytes from ``offset`` on, of the file ``root`` with ``size`` bytes."""
        self._header = car.header(root)
        self._stack = [_Expected(root, 0, size)]
        self._offset = offset
        self._end = offset + length
        self._held = bytearray()
        self._seen = OrderedDict[Cid, bytes]()
        self._seen_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether every block of the range was read."""
        return not self._stack

    def feed(self, piece: bytes | bytearray) -> bytes:
        """Read more of the CAR; return the verified bytes of the file that follow.

        Raises:
            BadCar: another block than the one expected, or bytes after the last block.
        """
        self._held += piece
        return self._read(ended=False)

    def finish(self) -> bytes:
        """Read what the end of the CAR allows; return the verified bytes that follow.

        Raises:
            BadCar: as `feed`.
        """
        return self._read(ended=True)

    def _read(self, *, ended: bool) -> bytes:
        parts, used = list[bytes](), 0
        with memoryview(self._held) as held:
            if self._header:
                if held[: len(self._header)] != self._header[: len(held)]:
                    raise BadCar("another header than one with the requested root")
                if len(held) < len(self._header):
                    return b""
                used, self._header = len(self._header), b""
            while self._stack:
                with held[used:] as rest:
                    found = self._block(rest, self._stack[-1].cid, ended=ended)
                if found is None:
                    break
                block, length = found
                used += length
                self._enter(self._stack.pop(), block, parts)
        del self._held[:used]
        if not self._stack and self._held:
            raise BadCar("more blocks than were requested")
        return b"".join(parts)

    def _block(self, rest: memoryview, cid: Cid, *, ended: bool) -> tuple[bytes, int] | None:
        """Return the block ``cid`` and the bytes it took of ``rest``; None if they are too few."""
        seen = self._seen.get(cid)
        if seen is not None and not _starts_with(rest, cid):
            return (seen, 0) if ended or len(rest) >= _LONGEST_START else None
        try:
            block = read_block(rest, cid)
        except IndexMismatch as error:
            raise BadCar(error.reason) from None
        if block is None:
            return None
        self._remember(cid, block)
        return block, len(car.section_header(cid, len(block))) + len(block)

    def _enter(self, expected: _Expected, block: bytes, parts: list[bytes]) -> None:
        """Take the bytes of a leaf, or expect the blocks below a node."""
        start, size = expected.offset, expected.size
        if expected.cid.codec is Codec.RAW:
            if len(block) != size:
                raise BadCar(f"a leaf of {len(block)} bytes instead of {size}")
            first, end = max(self._offset - start, 0), min(self._end - start, size)
            parts.append(block[first:end])
            return
        below = list[_Expected]()
        for cid, length in _links(block):
            # The blocks before and after the range are not sent.
            if start < self._end and start + length > self._offset:
                below.append(_Expected(cid, start, length))
            start += length
        if start != expected.offset + size:
            raise BadCar(f"a node of {start - expected.offset} bytes instead of {size}")
        self._stack += reversed(below)
        if len(self._stack) > MAX_WAITING:
            raise BadCar(f"more than {MAX_WAITING} links on the way to one block")

    def _remember(self, cid: Cid, block: bytes) -> None:
        if cid in self._seen:
            self._seen.move_to_end(cid)
            return
        self._seen[cid] = block
        self._seen_bytes += len(block)
        while self._seen_bytes > MAX_SEEN:
            _, oldest = self._seen.popitem(last=False)
            self._seen_bytes -= len(oldest)


def _links(block: bytes) -> list[tuple[Cid, int]]:
    leaves = parse_leaf_node(block)
    if leaves is not None:
        return [(Cid(Codec.RAW, Digest(digest.hex())), size) for digest, size in leaves]
    try:
        return [(link.cid, link.size) for link in read_node(block).links]
    except InvalidDag as error:
        raise BadCar(error.reason) from None


def _starts_with(rest: memoryview, cid: Cid) -> bool:
    """Return whether the next section may be the block ``cid``, as far as it has arrived."""
    try:
        _, start = varint.decode(rest)
    except (EOFError, ValueError):
        return False
    name = rest[start : start + CID_BYTES]
    return len(name) == CID_BYTES and name == bytes(cid)
