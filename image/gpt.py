"""Partition layout: the position of each partition, and the script with which sfdisk writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SECTOR: Final = 512
ALIGNMENT: Final = 1024 * 1024
"""Bytes: partitions start and end on whole MiB."""
TAIL: Final = ALIGNMENT
"""Bytes after the last partition, for the second table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition before its position is known.

    Attributes:
        name: its GPT name.
        type: its type GUID.
        uuid: its own GUID.
        size: bytes; rounded up to whole MiB.
        attributes: sfdisk's words for the attribute bits.
    """

    name: str
    type: str
    uuid: str
    size: int
    attributes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPartition:
    """A partition with its position and size, in bytes."""

    partition: Partition
    start: int
    size: int


def lay_out(partitions: Sequence[Partition]) -> tuple[PlacedPartition, ...]:
    """Place ``partitions`` one after another from the first MiB."""
    return tuple(_lay_out(partitions))


def disk_size(placed: Sequence[PlacedPartition]) -> int:
    """Return the size in bytes of a disk that holds ``placed`` and both tables."""
    return max(each.start + each.size for each in placed) + TAIL


def sfdisk_script(placed: Sequence[PlacedPartition], disk_uuid: str) -> str:
    """Return the partition table in sfdisk's language."""
    head = ["label: gpt", f"label-id: {disk_uuid}", f"sector-size: {SECTOR}", "unit: sectors"]
    return "\n".join([*head, *map(_line, placed), ""])


def _lay_out(partitions: Sequence[Partition]) -> Iterator[PlacedPartition]:
    start = ALIGNMENT
    for partition in partitions:
        size = -(-partition.size // ALIGNMENT) * ALIGNMENT
        yield PlacedPartition(partition=partition, start=start, size=size)
        start += size


def _line(placed: PlacedPartition) -> str:
    partition = placed.partition
    fields = [
        f"start={placed.start // SECTOR}",
        f"size={placed.size // SECTOR}",
        f"type={partition.type}",
        f"uuid={partition.uuid}",
        f'name="{partition.name}"',
    ]
    if partition.attributes:
        fields.append(f'attrs="{partition.attributes}"')
    return ", ".join(fields)
