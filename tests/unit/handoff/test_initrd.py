"""The kernel unpacks our archive behind a publisher's initramfs of any compression."""

from __future__ import annotations

from random import Random

import pytest

from phase_boot.handoff.cpio import Entry, archive
from phase_boot.handoff.initrd import GAP, Initrd, gap_after
from tests.support.boot_payloads import fetched
from tests.support.compressors import COMPRESSORS, packed
from tests.support.linux_initramfs import LZ4, Panic, names

DOCUMENT = b'{"schema": "x"}\n'
ROOTFS = b"hsqs" + b"rootfs" * 99
MODELLED = [name for name in COMPRESSORS if name != "lzop"]
"""lzo is judged by the kernel itself alone (tests/e2e/test_initramfs_formats.py)."""

ALIGNMENTS = {"none": 1, "xz": 1}
"""These formats are padded to a multiple of 4 bytes themselves."""


def initrd(initramfs: bytes, *, rootfs: bytes | None = None) -> bytes:
    whole = Initrd(
        initramfs=fetched("initramfs", initramfs),
        document=DOCUMENT,
        rootfs=None if rootfs is None else fetched("rootfs", rootfs),
    )
    raw = b"".join(p if isinstance(p, bytes) else p.read(1 << 24) for p in whole.parts())
    assert len(raw) == whole.size
    return raw


def of_every_alignment(compression: str) -> dict[int, bytes]:
    """Return an archive of each length modulo 4 that the compressor itself makes."""
    found: dict[int, bytes] = {}
    for number in range(60):
        noise = Random(number).randbytes(20 + number)  # noqa: S311 - the same every time
        text = noise + b"a" * (5 * number)
        raw = packed(compression, archive([Entry.file("theirs", text)]))
        found.setdefault(len(raw) % 4, raw)
        if len(found) == ALIGNMENTS.get(compression, 4):
            break
    return found


@pytest.mark.parametrize("rootfs", [None, ROOTFS], ids=["on Cache", "appended"])
@pytest.mark.parametrize("compression", MODELLED)
def test_the_kernel_finds_both_archives(compression: str, rootfs: bytes | None) -> None:
    archives = of_every_alignment(compression)
    assert len(archives) == ALIGNMENTS.get(compression, 4)
    ours = ["phase", "phase/handoff.json"]
    if rootfs is not None:
        ours = ["phase", "phase/rootfs.squashfs", *ours]
    for raw in archives.values():
        assert names(initrd(raw, rootfs=rootfs)) == ["theirs", *ours]


def test_the_model_detects_an_lz4_archive_without_a_gap() -> None:
    raw = packed("lz4", archive([Entry.file("theirs", b"x")]))
    assert raw.startswith(LZ4)
    with pytest.raises(Panic, match="LZ4"):
        names(raw + archive([Entry.file("ours", b"y")]))
    # Fewer than four zero bytes are read as the size of a chunk as well.
    with pytest.raises(Panic, match="LZ4"):
        names(raw + bytes(GAP - 1) + archive([Entry.file("ours", b"y")]))


@pytest.mark.parametrize("size", range(1, 9))
def test_the_gap_is_at_least_four_bytes_and_ends_at_a_multiple_of_four(size: int) -> None:
    gap = gap_after(size)
    assert not any(gap)
    assert len(gap) in range(4, 8)
    assert (size + len(gap)) % 4 == 0
