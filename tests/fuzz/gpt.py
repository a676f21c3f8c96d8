"""The first sectors of a disk that is not trusted."""

from __future__ import annotations

from phase_boot.firmware.gpt import MAX_ENTRIES, partition_guids
from tests.fuzz.target import Target
from tests.support.block_devices import CACHE, ESP, SECTOR, SEED, table

_LONGEST_READ = MAX_ENTRIES * 512


def one(data: bytes) -> None:
    def read(at: int, size: int) -> bytes:
        assert size <= _LONGEST_READ
        return data[at : at + size]

    for sector in (SECTOR, 4096):
        found = partition_guids(read, sector)
        assert len(found) <= MAX_ENTRIES
        assert all(len(guid) == len(ESP) for guid in found.values())


TARGET = Target(
    one=one,
    starts={
        "small": table((ESP, SEED, CACHE), count=4),
        "wide": table((ESP,), count=2, width=256),
        "nothing": bytes(3 * SECTOR),
    },
    max_len=8 * 1024,
    words=(b"EFI PART",),
)
