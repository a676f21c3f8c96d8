"""CAR files (content-addressable archives), version 1: a header with one root CID, then blocks.

https://ipld.io/specs/transport/car/carv1/ calls each length-prefixed part a section. The reader
checks the hash of a block before it returns it. All lengths are bounded before they are waited
for, because the file comes from an untrusted source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final, Protocol

from phase_boot.content import varint
from phase_boot.content.cid import CID_BYTES, Cid
from phase_boot.content.dag_pb import MAX_BLOCK

MAX_HEADER: Final = 4096
"""Bytes of the longest header that is read; the only one that is accepted has 58."""
# The canonical CBOR of {"roots": [CID], "version": 1} up to the CID, and from there on.
_HEADER_START: Final = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"
_HEADER_END: Final = b"\x67version\x01"
_HEADER_BODY: Final = len(_HEADER_START) + CID_BYTES + len(_HEADER_END)
HEADER_BYTES: Final = _HEADER_BODY + 1
"""Bytes before the first section: the header with its length."""
_VERSION_2: Final = b"\xa1\x67version\x02"
_READ_BYTES: Final = 64 * 1024


class BadCar(ValueError):
    """The CAR file is invalid from here on; ``str`` is one sentence with the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A CAR file is not usable ({reason}): fetch it from another source.")


class ByteSource(Protocol):
    """The one method of a binary stream that is needed."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` more bytes; none at the end."""


class CarReader:
    """Incremental parser: takes a CAR file in pieces of any size and returns its blocks.

    Call ``feed``, then ``next_block`` until it returns None, and ``finish`` at the end. At most one
    block and one piece are in memory.
    """

    def __init__(self, *, limit: int) -> None:
        """Read at most ``limit`` bytes in all."""
        self.root: Cid | None = None
        """The root CID of the header; None until the header was read."""
        self._held = bytearray()
        self._left = limit
        self._limit = limit

    def feed(self, piece: bytes) -> None:
        """Append more bytes of the file.

        Raises:
            BadCar: the file is longer than the limit.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise BadCar(f"more than {self._limit} bytes")
        self._held += piece

    def next_block(self) -> tuple[Cid, bytes] | None:
        """Return the next block and its CID, or None if more bytes are needed.

        Raises:
            BadCar: the next section is no header or block, or the hash of the block is wrong.
        """
        if self.root is None:
            header = self._section(min_length=1, max_length=MAX_HEADER)
            if header is None:
                return None
            self.root = _root(header)
        section = self._section(min_length=CID_BYTES, max_length=CID_BYTES + MAX_BLOCK)
        return None if section is None else _block(section)

    def finish(self) -> None:
        """Check that the file ended after a whole section.

        Raises:
            BadCar: it ended inside a section, or before the header.
        """
        if self._held or self.root is None:
            raise BadCar("it ends too early")

    def _section(self, *, min_length: int, max_length: int) -> bytes | None:
        """Return the next section without its length, or None if it is incomplete."""
        try:
            length, start = varint.decode(self._held)
        except EOFError:
            return None
        except ValueError as error:
            raise BadCar(str(error)) from None
        # Checked before the bytes are awaited, so that a length alone cannot fill the memory.
        if not min_length <= length <= max_length:
            raise BadCar(f"a part of {length} bytes where {min_length} to {max_length} may be")
        if len(self._held) < start + length:
            return None
        section = bytes(memoryview(self._held)[start : start + length])
        del self._held[: start + length]
        return section


def blocks(source: ByteSource | bytes, *, limit: int) -> Iterator[tuple[Cid, bytes]]:
    """Yield the CID and the verified block of each section of a file of at most ``limit`` bytes.

    Raises:
        BadCar: the file is invalid from here on; the blocks before it are valid.
    """
    reader = CarReader(limit=limit)
    stream: ByteSource = BytesIO(source) if isinstance(source, bytes) else source
    while piece := stream.read(_READ_BYTES):
        reader.feed(piece)
        while (block := reader.next_block()) is not None:
            yield block
    reader.finish()


def write(root: Cid, content: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Yield the bytes of a CAR file with one root, section by section.

    Raises:
        BadCar: a block that a reader would refuse.
    """
    yield header(root)
    for cid, block in content:
        section = bytes(cid) + block
        if len(block) > MAX_BLOCK:
            raise BadCar(f"a block larger than {MAX_BLOCK} bytes")
        _block(section)
        yield varint.encode(len(section)) + section


def header(root: Cid) -> bytes:
    """Return the header of a file with one root, with its length."""
    return varint.encode(_HEADER_BODY) + _HEADER_START + bytes(root) + _HEADER_END


def section_header(cid: Cid, size: int) -> bytes:
    """Return the length and the CID that precede a block of ``size`` bytes."""
    return varint.encode(CID_BYTES + size) + bytes(cid)


def _root(header: bytes) -> Cid:
    if header == _VERSION_2:
        raise BadCar("version 2, and only version 1 is read")
    start, end = header[: len(_HEADER_START)], header[-len(_HEADER_END) :]
    if len(header) != _HEADER_BODY or start != _HEADER_START or end != _HEADER_END:
        raise BadCar("a header that is not version 1 with one root")
    return _cid(header[len(_HEADER_START) : -len(_HEADER_END)])


def _block(section: bytes) -> tuple[Cid, bytes]:
    cid, block = _cid(section[:CID_BYTES]), section[CID_BYTES:]
    if Cid.of(cid.codec, block) != cid:
        raise BadCar(f"a block is not {cid}")
    return cid, block


def _cid(data: bytes) -> Cid:
    try:
        return Cid.from_bytes(data)
    except ValueError as error:
        raise BadCar(str(error)) from None
