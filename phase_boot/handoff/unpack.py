"""The bytes of a kernel as it is started: unpacked where it is packed, and hashed on the way."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final

from phase_boot.handoff.kernel import MAX_UNPACKED, Kernel, UnknownKernel
from phase_boot.store.cas import Fetched

PIECE: Final = 1024 * 1024


def pieces(image: Fetched, kernel: Kernel) -> Iterator[bytes]:
    """Yield the bytes of ``image``, unpacked if ``kernel`` says that it is packed.

    Raises:
        UnknownKernel: they are no longer what was signed, or do not unpack to what the kernel's
            header promised. What came before that must not be used.
    """
    digest = hashlib.sha256()
    raw = _raw(image, digest)
    yield from raw if kernel.packed is None else _unpacked(raw, kernel.packed.offset)
    for _ in raw:
        # Nothing of it is started, but all of it was signed.
        pass
    if digest.hexdigest() != image.artifact.digest.hex:
        raise UnknownKernel(f"the {image.artifact.name} is no longer what was signed")


def _raw(image: Fetched, digest: hashlib._Hash) -> Iterator[bytes]:
    offset = 0
    while piece := image.read(PIECE, offset):
        digest.update(piece)
        offset += len(piece)
        yield piece


def _unpacked(raw: Iterator[bytes], offset: int) -> Iterator[bytes]:
    stream, left = zlib.decompressobj(wbits=31), MAX_UNPACKED
    for piece in raw:
        data, offset = piece[offset:], max(0, offset - len(piece))
        while data and not stream.eof:
            try:
                out = stream.decompress(data, PIECE)
            except zlib.error as error:
                raise UnknownKernel(f"the kernel cannot be unpacked: {error}") from error
            left -= len(out)
            if left < 0:
                raise UnknownKernel(f"the kernel unpacks to more than {MAX_UNPACKED >> 20} MiB")
            yield out
            data = stream.unconsumed_tail
        if stream.eof:
            return
    raise UnknownKernel("the packed kernel breaks off")
