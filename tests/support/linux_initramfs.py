"""A model of how Linux unpacks an initrd of several archives.

It follows `unpack_to_rootfs` (init/initramfs.c) and, for lz4, `unlz4` (lib/decompress_unlz4.c,
Linux 5.9 and later): an archive that is not compressed begins at a multiple of 4 bytes, zero bytes
between archives are skipped, and each decompressor says how far it read.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

LZ4: Final = struct.pack("<I", 0x184C2102)
LZ4_CHUNK: Final = 8 << 20
_HEADER: Final = 110


class Panic(Exception):
    """The kernel's message as it stops unpacking the initrd."""


def names(initrd: bytes) -> list[str]:
    """Return the names in all archives of ``initrd``, trailers left out.

    Raises:
        Panic: the kernel stops before the end.
    """
    found: list[str] = []
    at = aligned = 0
    while at < len(initrd):
        if initrd[at : at + 1] == b"0" and aligned % 4 == 0:
            size = _plain(initrd[at:], found)
        elif initrd[at] == 0:
            size = 1
        else:
            data, size = _decompressed(initrd[at:])
            if _plain(data, found) < len(data.rstrip(b"\0")):
                raise Panic("junk at the end of compressed archive")
        at += size
        aligned += size
    return found


def _plain(data: bytes, found: list[str]) -> int:
    """Read entries up to a trailer, and return how many bytes they take."""
    at = 0
    while True:
        header = data[at : at + _HEADER]
        if header[:6] != b"070701" or len(header) < _HEADER:
            raise Panic("broken padding or no cpio magic")
        numbers = [int(header[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
        size, length = numbers[6], numbers[11]
        name = data[at + _HEADER : at + _HEADER + length - 1].decode()
        at = _up(_up(at + _HEADER + length) + size)
        if name == "TRAILER!!!":
            return min(at, len(data))
        found.append(name)


def _up(number: int) -> int:
    return number + -number % 4


def _decompressed(data: bytes) -> tuple[bytes, int]:
    """Return the unpacked archive and the number of bytes that its decompressor read."""
    for magic, decompress in DECOMPRESSORS.items():
        if data.startswith(magic):
            return decompress(data)
    raise Panic("invalid magic at start of compressed archive")


def _unlz4(data: bytes) -> tuple[bytes, int]:
    out, at = b"", 4
    while len(data) - at >= 4:
        (size,) = struct.unpack_from("<I", data, at)
        if size == 0:
            break
        if data[at : at + 4] == LZ4:
            at += 4
            continue
        at += 4
        if size > len(data) - at:
            raise Panic("LZ4: data corrupted")
        out += _lz4_block(data[at : at + size])
        at += size
    return out, at


def _lz4_block(block: bytes) -> bytes:
    out, at = bytearray(), 0
    try:
        while at < len(block):
            token, at = block[at], at + 1
            count, at = _lz4_length(block, at, token >> 4)
            out += block[at : at + count]
            at += count
            if at >= len(block):
                break
            offset, at = block[at] | block[at + 1] << 8, at + 2
            count, at = _lz4_length(block, at, token & 15)
            if not 0 < offset <= len(out):
                raise Panic("LZ4: Decoding failed")
            for _ in range(count + 4):
                out.append(out[-offset])
    except IndexError:
        raise Panic("LZ4: Decoding failed") from None
    if len(out) > LZ4_CHUNK:
        raise Panic("LZ4: Decoding failed")
    return bytes(out)


def _lz4_length(block: bytes, at: int, length: int) -> tuple[int, int]:
    more = 255 if length == 15 else 0
    while more == 255:
        more = block[at]
        length, at = length + more, at + 1
    return length, at


def _gunzip(data: bytes) -> tuple[bytes, int]:
    return _streamed(zlib.decompressobj(31), data)


def _bunzip2(data: bytes) -> tuple[bytes, int]:
    return _streamed(bz2.BZ2Decompressor(), data)


def _unxz(data: bytes) -> tuple[bytes, int]:
    return _streamed(lzma.LZMADecompressor(lzma.FORMAT_XZ), data)


def _unlzma(data: bytes) -> tuple[bytes, int]:
    return _streamed(lzma.LZMADecompressor(lzma.FORMAT_ALONE), data)


def _streamed(
    stream: zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor, data: bytes
) -> tuple[bytes, int]:
    out = stream.decompress(data)
    if not stream.eof:
        raise Panic("decompressor failed")
    return out, len(data) - len(stream.unused_data)


def _unzstd(data: bytes) -> tuple[bytes, int]:
    size = sum(map(len, _zstd_parts(data)))
    done = subprocess.run(["zstd", "-dcq"], input=data[:size], capture_output=True, check=True)
    return done.stdout, size


def _zstd_parts(data: bytes) -> Iterator[bytes]:
    """Yield header, blocks and checksum of one frame (RFC 8878, section 3.1.1)."""
    flags = data[4]
    single = flags >> 5 & 1
    content = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + content
    yield data[:at]
    last = 0
    while not last:
        header = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        end = at + 3 + (1 if kind == 1 else size)
        yield data[at:end]
        at = end
    yield data[at : at + 4 * (flags >> 2 & 1)]


DECOMPRESSORS: Final[Mapping[bytes, Callable[[bytes], tuple[bytes, int]]]] = MappingProxyType(
    {
        b"\x1f\x8b": _gunzip,
        b"BZh": _bunzip2,
        b"\xfd7zXZ\0": _unxz,
        b"\x5d\0\0": _unlzma,
        LZ4: _unlz4,
        b"\x28\xb5\x2f\xfd": _unzstd,
    }
)
