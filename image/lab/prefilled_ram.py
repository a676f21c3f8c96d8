"""Fill a guest's RAM with a pattern before power-on, and find the pages that still hold some of it.

The RAM is a file that QEMU maps. Each page holds its own number in every 16 bytes. A page that was
copied elsewhere is therefore not counted, and a page that was overwritten in part is.
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
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a tmpfs: the guest's RAM stays in RAM


@dataclass(frozen=True, slots=True)
class PrefilledRam:
    """RAM in the file ``path``, filled before the machine was switched on."""

    path: Path

    def surviving_pages(self) -> tuple[int, ...]:
        """Return the numbers of the pages that still hold some of their pattern.

        On a platform whose RAM begins at address 0, a page's number is its physical address divided
        by `PAGE`.
        """
        found: list[int] = []
        with self.path.open("rb") as file:
            for first in range(0, self.path.stat().st_size // PAGE, MIB // PAGE):
                window = file.read(MIB)
                found += [
                    first + n
                    for n in range(len(window) // PAGE)
                    if _holds_pattern(window, first, n)
                ]
        return tuple(found)


def _cell(number: int) -> bytes:
    return _CELL.pack(_TAG, number)


def _holds_pattern(window: bytes, first: int, number: int) -> bool:
    start = number * PAGE
    return window.find(_cell(first + number), start, start + PAGE) >= 0


@contextmanager
def prefilled(hardware: Hardware) -> Iterator[tuple[Hardware, PrefilledRam]]:
    """Yield ``hardware`` with filled RAM for one start of one machine; then remove the RAM."""
    with tempfile.NamedTemporaryFile(dir=_SHARED_MEMORY, prefix="phase-ram-") as file:
        for number in range(hardware.memory * MIB // PAGE):
            file.write(_cell(number) * (PAGE // _CELL.size))
        file.flush()
        backend = (
            f"memory-backend-file,id=ram,size={hardware.memory}M,share=on,mem-path={file.name}"
        )
        extra = ("-object", backend, "-machine", "memory-backend=ram")
        ready = replace(hardware, extra=(*hardware.extra, *extra))
        yield ready, PrefilledRam(Path(file.name))


def address_ranges(pages: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return sorted ``pages`` as half-open ranges of byte addresses."""
    found: list[tuple[int, int]] = []
    for page in pages:
        if found and found[-1][1] == page * PAGE:
            found[-1] = (found[-1][0], (page + 1) * PAGE)
        else:
            found.append((page * PAGE, (page + 1) * PAGE))
    return found
