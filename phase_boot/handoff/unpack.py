"""The bytes of an image as they are started: hashed on the way, and unpacked where packed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final

from phase_boot.handoff.kernel import Kernel, Packed, UnknownKernel
from phase_boot.store.content_store import VerifiedFile

BUFFER_SIZE: Final = 1024 * 1024


def verified_bytes(image: VerifiedFile) -> Iterator[bytes]:
    """Yield the bytes of ``image``.

    Raises:
        UnknownKernel: they are no longer what was signed. What came before must not be used.
    """
    digest, offset = hashlib.sha256(), 0
    while buffer := image.read(BUFFER_SIZE, offset):
        digest.update(buffer)
        offset += len(buffer)
        yield buffer
    if digest.hexdigest() != image.artifact.digest.hex:
        raise UnknownKernel(f"the {image.artifact.name} is no longer what was signed")


def kernel_bytes(image: VerifiedFile, kernel: Kernel) -> Iterator[bytes]:
    """Yield the bytes of ``image``, unpacked if ``kernel`` says that it is packed.

    Raises:
        UnknownKernel: they are no longer what was signed, or do not unpack to what the kernel's
            header promised. What came before must not be used.
    """
    raw = verified_bytes(image)
    yield from raw if kernel.packed is None else unpacked(raw, kernel.packed)
    for _ in raw:
        # What follows the packed kernel is not started, but it was signed.
        pass


def unpacked(raw: Iterator[bytes], packed: Packed) -> Iterator[bytes]:
    """Yield the kernel in the gzip stream of ``raw``.

    Raises:
        UnknownKernel: it breaks off, or unpacks to more than its header promised.
    """
    stream, offset, left = zlib.decompressobj(wbits=31), packed.offset, packed.unpacked
    for buffer in raw:
        data, offset = buffer[offset:], max(0, offset - len(buffer))
        while data and not stream.eof:
            try:
                out = stream.decompress(data, BUFFER_SIZE)
            except zlib.error as error:
                raise UnknownKernel(f"the kernel cannot be unpacked: {error}") from error
            left -= len(out)
            if left < 0:
                raise UnknownKernel("the kernel unpacks to more than its header says")
            yield out
            data = stream.unconsumed_tail
        if stream.eof:
            return
    raise UnknownKernel("the packed kernel breaks off")
