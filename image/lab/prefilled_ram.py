"""A guest's RAM that holds a pattern before power-on, and which of its pages still carry it.

The RAM is a file that QEMU maps. Each page carries its own number in every 16 bytes, so a page that
was copied elsewhere does not count, and one that was overwritten in part does.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from image.lab.qemu_args import Hardware

PAGE: Final = 4096
MIB: Final = 1024 * 1024
_CELL: Final = struct.Struct("<8sQ")
_TAG: Final = b"pre-fill"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - RAM of the guest belongs into RAM


@dataclass(frozen=True, slots=True)
class Prefilled:
    """RAM in the file ``path``, which was filled before the machine was switched on."""

    path: Path

    def survivors(self) -> tuple[int, ...]:
        """Return the numbers of the pages that still carry some of their pattern.

        A page's number is its place in RAM, and its physical address divided by `PAGE` as far as
        the RAM of the board begins at 0.
        """
        found: list[int] = []
        with self.path.open("rb") as file:
            for first in range(0, self.path.stat().st_size // PAGE, MIB // PAGE):
                window = file.read(MIB)
                found += [
                    first + n for n in range(len(window) // PAGE) if _carried(window, first, n)
                ]
        return tuple(found)


def _cell(number: int) -> bytes:
    return _CELL.pack(_TAG, number)


def _carried(window: bytes, first: int, number: int) -> bool:
    start = number * PAGE
    return window.find(_cell(first + number), start, start + PAGE) >= 0


@contextmanager
def prefilled(hardware: Hardware) -> Iterator[tuple[Hardware, Prefilled]]:
    """Yield ``hardware`` with RAM that holds the pattern; the file is removed in the end.

    One machine may be started with it.
    """
    with tempfile.NamedTemporaryFile(dir=_SHARED_MEMORY, prefix="phase-ram-") as file:
        for number in range(hardware.memory * MIB // PAGE):
            file.write(_cell(number) * (PAGE // _CELL.size))
        file.flush()
        backend = (
            f"memory-backend-file,id=ram,size={hardware.memory}M,share=on,mem-path={file.name}"
        )
        extra = ("-object", backend, "-machine", "memory-backend=ram")
        ready = replace(hardware, extra=(*hardware.extra, *extra))
        yield ready, Prefilled(Path(file.name))


def ranges(pages: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return ``pages``, in order, as ranges of addresses: first byte and the one after the last."""
    found: list[tuple[int, int]] = []
    for page in pages:
        if found and found[-1][1] == page * PAGE:
            found[-1] = (found[-1][0], (page + 1) * PAGE)
        else:
            found.append((page * PAGE, (page + 1) * PAGE))
    return found
