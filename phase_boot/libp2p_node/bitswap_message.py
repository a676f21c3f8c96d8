"""Messages of the protocol ``/ipfs/bitswap/1.2.0``, parsed as hostile input.

A message is a protobuf (https://specs.ipfs.tech/bitswap-protocol/, section "Bitswap 1.2.0") behind
its length as a varint. This machine requests blocks and serves none. So it writes wants, and reads
blocks and the notes of peers that lack one; the wants of a peer are skipped unread.

The runtime of protobuf would build an object for each want of a peer before any bound is checked:
4 MiB of the smallest wants are two million objects of 112 MB. Here they are one slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from phase_boot.content import varint
from phase_boot.content.cid import CID_BYTES, Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.content.protobuf import bytes_field, fields, number_field

PROTOCOL: Final = "/ipfs/bitswap/1.2.0"
MAX_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of the largest message: the limit of IPFS nodes."""
MAX_LENGTH_BYTES: Final = 4
"""Bytes of the longest length of a message."""
MAX_FIELDS: Final = 4096
"""Fields of one message that are read. A peer sends no more notes than it was sent wants."""
MAX_WANTS: Final = 1024
"""Wants and cancellations in one message."""

# Field numbers of Message, of its Block, of its BlockPresence, and of an Entry of its Wantlist.
_WANTLIST, _PAYLOAD, _PRESENCE = 1, 3, 4
_BLOCK_PREFIX, _BLOCK_DATA = 1, 2
_PRESENCE_CID, _PRESENCE_TYPE = 1, 2
_ENTRIES, _ENTRY_CID, _PRIORITY, _CANCEL, _SEND_DONT_HAVE = 1, 1, 2, 3, 5
_DONT_HAVE: Final = 1
# What precedes the digest in a CID: version 1, the codec, and the multihash code and length.
_PREFIX_BYTES: Final = CID_BYTES - 32
_PREFIXES: Final = {bytes(Cid.of(codec, b""))[:_PREFIX_BYTES]: codec for codec in Codec}


class BadMessage(ValueError):
    """The message is invalid; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Received:
    """What counts of a message.

    Attributes:
        blocks: each with its codec. Their CIDs follow from their bytes: a peer names none.
        absent: the CIDs of blocks that the peer does not have.
    """

    blocks: tuple[tuple[Codec, bytes], ...] = ()
    absent: tuple[Cid, ...] = ()


def decode(message: bytes) -> Received:
    """Parse a message, without the length before it.

    Unknown fields are skipped, and so are blocks and notes whose CIDs are not of the form that is
    requested here.

    Raises:
        BadMessage: it is cut short, malformed, or larger than the protocol or this module permits.
    """
    if len(message) > MAX_MESSAGE:
        raise BadMessage(f"more than {MAX_MESSAGE} bytes")
    blocks: list[tuple[Codec, bytes]] = []
    absent: list[Cid] = []
    for number, value in _fields(message):
        if number == _PAYLOAD:
            block = _block(_nested(value))
            blocks += [block] if block else []
        elif number == _PRESENCE:
            cid = _absent(_nested(value))
            absent += [cid] if cid else []
    return Received(tuple(blocks), tuple(absent))


def encode_wants(wanted: Iterable[Cid] = (), cancelled: Iterable[Cid] = ()) -> bytes:
    """Return the message, behind its length, that adds to the want-list of this machine.

    Each want asks for the block itself, and for a note if the peer does not have it.

    Raises:
        ValueError: more than `MAX_WANTS` entries.
    """
    entries = [
        *(_entry(cid, _SEND_DONT_HAVE) for cid in wanted),
        *(_entry(cid, _CANCEL) for cid in cancelled),
    ]
    if len(entries) > MAX_WANTS:
        raise ValueError(f"a message has at most {MAX_WANTS} wants")
    return with_length(bytes_field(_WANTLIST, b"".join(entries)))


def with_length(message: bytes) -> bytes:
    """Return a message behind its length, as a stream carries it."""
    return varint.encode(len(message)) + message


class MessageReader:
    """Cuts the bytes of a stream into messages."""

    def __init__(self) -> None:
        """Start before the first message."""
        self._rest = bytearray()

    @property
    def held(self) -> int:
        """Bytes of the message that is not complete yet."""
        return len(self._rest)

    def feed(self, received: bytes) -> list[bytes]:
        """Take the next bytes; return the messages that are complete now, without lengths.

        Raises:
            BadMessage: a message is longer than `MAX_MESSAGE`.
        """
        self._rest += received
        found, at = [], 0
        while (span := _span(self._rest, at)) is not None and span[1] <= len(self._rest):
            found.append(bytes(memoryview(self._rest)[span[0] : span[1]]))
            at = span[1]
        del self._rest[:at]
        return found


def _span(data: bytearray, at: int) -> tuple[int, int] | None:
    """Return begin and end of the message whose length is at ``at``; None if that is not whole."""
    try:
        length, start = varint.decode(data[at : at + MAX_LENGTH_BYTES])
    except EOFError:
        if len(data) - at < MAX_LENGTH_BYTES:
            return None
        raise BadMessage(f"a message of more than {MAX_MESSAGE} bytes") from None
    except ValueError as error:
        raise BadMessage(str(error)) from None
    if length > MAX_MESSAGE:
        raise BadMessage(f"a message of {length} bytes, and {MAX_MESSAGE} are permitted")
    return at + start, at + start + length


def _entry(cid: Cid, flag: int) -> bytes:
    fields_of_it = (bytes_field(_ENTRY_CID, bytes(cid)), number_field(_PRIORITY, 1))
    return bytes_field(_ENTRIES, b"".join((*fields_of_it, number_field(flag, 1))))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and content of each field; raise BadMessage."""
    try:
        for count, each in enumerate(fields(message)):
            if count == MAX_FIELDS:
                raise BadMessage(f"more than {MAX_FIELDS} fields")
            yield each
    except ValueError as error:
        raise BadMessage(str(error)) from None


def _nested(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BadMessage("a number where bytes belong")
    return value


def _block(message: bytes) -> tuple[Codec, bytes] | None:
    """Return a block with its codec; None if its CID is of a form that is not requested."""
    prefix = block = b""
    for number, value in _fields(message):
        if number == _BLOCK_PREFIX:
            prefix = _nested(value)
        elif number == _BLOCK_DATA:
            block = _nested(value)
    if len(block) > MAX_BLOCK:
        raise BadMessage(f"a block of more than {MAX_BLOCK} bytes")
    codec = _PREFIXES.get(prefix)
    return None if codec is None else (codec, block)


def _absent(message: bytes) -> Cid | None:
    """Return the CID of a note that says the peer lacks it; None for any other note."""
    name, kind = b"", 0
    for number, value in _fields(message):
        if number == _PRESENCE_CID:
            name = _nested(value)
        elif number == _PRESENCE_TYPE and isinstance(value, int):
            kind = value
    if kind != _DONT_HAVE:
        return None
    try:
        return Cid.from_bytes(name)
    except ValueError:
        return None
