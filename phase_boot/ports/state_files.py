"""Small files that outlive a boot, beside the artifacts: what the stick remembers."""

from __future__ import annotations

from typing import Protocol


class StateFiles(Protocol):
    """Files by name. A name is a plain file name; nobody writes the same one twice at once."""

    def read(self, name: str, *, limit: int) -> bytes | None:
        """Return the first ``limit`` bytes of a file and one more if it is longer, or None.

        Raises:
            StoreError: it is there and cannot be read.
        """

    def write(self, name: str, data: bytes) -> None:
        """Replace a file, durably and all at once: after a crash it is the old one or the new one.

        Raises:
            StoreError: the disk refused; the old file is still there.
        """
