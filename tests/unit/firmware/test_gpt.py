"""GUID partition tables of disks that are not trusted."""

from __future__ import annotations

import pytest

from phase_boot.firmware.gpt import partition_guids
from tests.support.block_devices import CACHE, ESP, SECTOR, SEED, header, table

GUIDS = (ESP, SEED, CACHE)


def guids(disk: bytes, sector: int = SECTOR) -> dict[int, str]:
    return dict(partition_guids(lambda at, size: disk[at : at + size], sector))


def test_each_partition_has_its_guid_by_its_number() -> None:
    assert guids(table(GUIDS)) == {1: ESP, 2: SEED, 3: CACHE}
    assert guids(table(GUIDS, count=4, width=256)) == {1: ESP, 2: SEED, 3: CACHE}


def test_an_entry_without_a_type_is_no_partition() -> None:
    disk = bytearray(table(GUIDS))
    entries = 2 * SECTOR
    disk[entries + 128 : entries + 144] = bytes(16)
    disk[SECTOR : 2 * SECTOR] = header(bytes(disk[entries:]))
    assert guids(bytes(disk)) == {1: ESP, 3: CACHE}


@pytest.mark.parametrize("byte", [SECTOR, SECTOR + 17, SECTOR + 40, 2 * SECTOR + 20, 4000])
def test_a_table_with_a_wrong_checksum_has_no_partitions(byte: int) -> None:
    disk = bytearray(table(GUIDS))
    disk[byte] ^= 1
    assert guids(bytes(disk)) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0},
        {"size": 91},
        {"size": 2**31},
        {"count": 0},
        {"count": 2**32 - 1},
        {"width": 0},
        {"width": 127},
        {"width": 2**31},
        {"start": 2**63},
    ],
)
def test_a_header_with_a_monstrous_number_reads_nothing_large(changes: dict[str, int]) -> None:
    entries = table(GUIDS)[2 * SECTOR :]
    disk = bytes(SECTOR) + header(entries, **changes) + entries
    asked = []

    def read(at: int, size: int) -> bytes:
        asked.append(size)
        return disk[at : at + size]

    assert partition_guids(read, SECTOR) == {}
    assert max(asked) <= 256 * 512


def test_a_truncated_disk_or_one_with_odd_sectors_has_no_partitions() -> None:
    disk = table(GUIDS)
    assert guids(disk[: SECTOR + 50]) == {}
    assert guids(disk[:-1]) == {}
    assert guids(b"") == {}
    for sector in (0, 1, 513, 2**40):
        assert guids(disk, sector) == {}
