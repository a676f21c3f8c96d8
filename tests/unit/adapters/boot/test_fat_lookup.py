"""Lookup of names in a FAT without a mount: a verdict only for known formats."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.adapters.boot.fat_lookup import Read, certainly_lacks

NAME = "phase-staged"
ROOT_AT = (32 + 2 * 8) * 512


def named(name: str, *, first: int = 0x41) -> bytes:
    """Return the two entries of a folder: the long name and the short one."""
    text = (name + "\0").encode("utf-16-le").ljust(26, b"\xff")
    long = bytes([first]) + text[:10] + b"\x0f\0\0" + text[10:22] + b"\0\0" + text[22:26]
    return long + b"PHASE-~1   \x10".ljust(32, b"\0")


def fat(root: bytes, *, kind: bytes = b"FAT32   ", cluster: int = 1) -> bytes:
    """Return a filesystem whose root is ``root`` padded with zeros to its cluster."""
    head = bytearray(512)
    struct.pack_into("<HBHB", head, 11, 512, cluster, 32, 2)
    struct.pack_into("<I", head, 36, 8)
    struct.pack_into("<I", head, 44, 2)
    head[82:90] = kind
    head[510:] = b"\x55\xaa"
    return bytes(head).ljust(ROOT_AT, b"\0") + root.ljust(512 * cluster, b"\0")


def reading(data: bytes) -> Read:
    return lambda offset, size: data[offset : offset + size]


def test_a_present_name_is_found_in_any_case() -> None:
    assert not certainly_lacks(reading(fat(named("loader") + named(NAME))), NAME)
    assert not certainly_lacks(reading(fat(named(NAME.upper()))), NAME)


def test_an_absent_name_is_reported_as_absent() -> None:
    assert certainly_lacks(reading(fat(b"")), NAME)
    assert certainly_lacks(reading(fat(named("loader") + named("phase"))), NAME)
    assert certainly_lacks(
        reading(fat(named(NAME, first=0xE5).replace(b"PHASE", b"\xe5HASE"))), NAME
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(512),
        fat(b"", kind=b"FAT16   "),
        fat(b"")[:600],
        fat(named("loader") * 8),
        fat(b"", cluster=0),
    ],
    ids=["nothing", "zeros", "FAT16", "torn", "goes on elsewhere", "no clusters"],
)
def test_an_unknown_filesystem_gives_no_verdict(data: bytes) -> None:
    assert not certainly_lacks(reading(data), NAME)


def test_a_name_that_needs_two_entries_is_not_searched() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        certainly_lacks(reading(fat(b"")), "phase-staged-x")


@given(
    changes=st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=20),
    root=st.binary(max_size=512),
)
def test_hostile_bytes_are_read_within_bounds(changes: list[tuple[int, int]], root: bytes) -> None:
    head = bytearray(fat(root))
    for offset, value in changes:
        head[offset] = value
    asked: list[int] = []

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        return bytes(head[offset : offset + size])

    certainly_lacks(read, NAME)
    assert len(asked) <= 2
    assert all(0 <= size <= 64 * 1024 for size in asked)
