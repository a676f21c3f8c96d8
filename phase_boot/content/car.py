"""CAR files, version 1: blocks one after another, each checked before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final, Protocol

from phase_boot.content import varint
from phase_boot.content.cid import CID_BYTES, Cid
from phase_boot.content.dag_pb import MAX_BLOCK

MAX_HEADER: Final = 4096
"""Bytes of a header that are waited for; the only one that is accepted has 58."""
# The canonical CBOR of {"roots": [CID], "version": 1} up to the CID, and from there on.
_HEADER_START: Final = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"
_HEADER_END: Final = b"\x67version\x01"
_HEADER_BODY: Final = len(_HEADER_START) + CID_BYTES + len(_HEADER_END)
HEADER_BYTES: Final = _HEADER_BODY + 1
"""Bytes before the first block."""
_VERSION_2: Final = b"\xa1\x67version\x02"
_READ_BYTES: Final = 64 * 1024


class BadCar(ValueError):
    """A CAR file is not usable from here on; ``str`` is one sentence with the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A CAR file is not usable ({reason}): fetch it from another source.")


class ByteSource(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` more bytes, none at the end."""


class CarReader:
    """Takes a CAR file in pieces of any size and gives its blocks, whatever is still to come.

    Feed it, take until None, and finish it in the end. It holds one block and one piece at most.
    """

    def __init__(self, *, limit: int) -> None:
        """Read at most ``limit`` bytes in all."""
        self.root: Cid | None = None
        """What the file says its first block is; None until the header was taken."""
        self._held = bytearray()
        self._left = limit
        self._limit = limit

    def feed(self, piece: bytes) -> None:
        """Take more of the file.

        Raises:
            BadCar: that is more than the limit.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise BadCar(f"more than {self._limit} bytes")
        self._held += piece

    def next_block(self) -> tuple[Cid, bytes] | None:
        """Return the next block and its name, or None until more is fed.

        Raises:
            BadCar: what comes next is no header or block, or a block is not what its name says.
        """
        if self.root is None:
            header = self._section(least=1, most=MAX_HEADER)
            if header is None:
                return None
            self.root = _root(header)
        section = self._section(least=CID_BYTES, most=CID_BYTES + MAX_BLOCK)
        return None if section is None else _block(section)

    def finish(self) -> None:
        """Check that the file ended where it may.

        Raises:
            BadCar: in the middle of something.
        """
        if self._held or self.root is None:
            raise BadCar("it ends too early")

    def _section(self, *, least: int, most: int) -> bytes | None:
        """Take one length and that many bytes, if they are all there."""
        try:
            length, start = varint.decode(self._held)
        except EOFError:
            return None
        except ValueError as error:
            raise BadCar(str(error)) from None
        # Refused before it is waited for, so that a length alone never fills the memory.
        if not least <= length <= most:
            raise BadCar(f"a part of {length} bytes where {least} to {most} may be")
        if len(self._held) < start + length:
            return None
        section = bytes(memoryview(self._held)[start : start + length])
        del self._held[: start + length]
        return section


def blocks(source: ByteSource | bytes, *, limit: int) -> Iterator[tuple[Cid, bytes]]:
    """Yield each block of a CAR file of at most ``limit`` bytes, checked, with its name.

    Raises:
        BadCar: the file is not usable from here on; what was yielded is.
    """
    reader = CarReader(limit=limit)
    stream: ByteSource = BytesIO(source) if isinstance(source, bytes) else source
    while piece := stream.read(_READ_BYTES):
        reader.feed(piece)
        while (block := reader.next_block()) is not None:
            yield block
    reader.finish()


def write(root: Cid, content: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Yield the pieces of a CAR file with one root.

    Raises:
        BadCar: a block that no reader would take.
    """
    yield header(root)
    for cid, block in content:
        section = bytes(cid) + block
        if len(block) > MAX_BLOCK:
            raise BadCar(f"a block larger than {MAX_BLOCK} bytes")
        _block(section)
        yield varint.encode(len(section)) + section


def header(root: Cid) -> bytes:
    """Return what stands before the first block of a file with one root."""
    return varint.encode(_HEADER_BODY) + _HEADER_START + bytes(root) + _HEADER_END


def section_header(cid: Cid, size: int) -> bytes:
    """Return what stands before a block of ``size`` bytes."""
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
