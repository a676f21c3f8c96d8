"""Hashing a file through a descriptor, without ever naming it."""

from __future__ import annotations

import os
from typing import Final, Protocol

_BUFFER: Final = 1 << 20


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


def hash_into(digest: Hash, fd: int) -> int:
    """Feed the whole file to ``digest``, leave the descriptor at its end, return its length.

    Raises:
        OSError: the file cannot be read.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    buffer = memoryview(bytearray(_BUFFER))
    total = 0
    while count := os.readv(fd, [buffer]):
        digest.update(buffer[:count])
        total += count
    return total
