"""Hashing an open file by its descriptor, so that no path is resolved a second time."""

from __future__ import annotations

import os
from typing import Final, Protocol

_BUFFER: Final = 1 << 20


class Hash(Protocol):
    """A hash object of hashlib."""

    def update(self, data: memoryview, /) -> None:
        """Hash more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far in hex."""


def hash_into(digest: Hash, fd: int) -> int:
    """Hash the whole file into ``digest`` and return its length; the descriptor is then at its end.

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
