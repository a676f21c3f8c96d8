"""Checks whether a machine can boot the files of a version: bytes in, findings out.

The publisher runs these checks before signing, and the machine before the hand-off. A file is
refused if no machine can boot it; it gets a warning if some machines cannot.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.handoff.cpio import ALIGNMENT, TRAILER
from phase_boot.handoff.kernel import HEAD, Format, Kernel, UnknownKernel, inspect

Read = Callable[[int, int], bytes]
"""Takes a number of bytes and an offset; returns at most that many bytes of a file."""
MAX_MEMBERS: Final = 10_000
"""Members of an uncompressed cpio archive that are skipped, at most."""
CPIO: Final = "cpio"
_CPIO_MAGICS: Final = (b"070701", b"070702")
_CPIO_HEAD: Final = 110
_PACKINGS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9e", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x89LZO", "lzo"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
"""What `lib/decompress.c` of Linux recognises."""
_LZ4_FRAME: Final = b"\x04\x22\x4d\x18"
_FILE_SYSTEMS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (1080, b"\x53\xef", "ext4"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (0, b"XFSB", "xfs"),
    (32769, b"CD001", "iso9660"),
    (65600, b"_BHRfS_M", "btrfs"),
)
OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "squashfs": "SQUASHFS",
        "erofs": "EROFS_FS",
        "ext4": "EXT4_FS",
        "f2fs": "F2FS_FS",
        "xfs": "XFS_FS",
        "iso9660": "ISO9660_FS",
        "btrfs": "BTRFS_FS",
    }
)
"""The option of Linux for each file system."""
_RELOCATABLE: Final = 0x234
_XLOADFLAGS: Final = 0x236
_ABOVE_4G: Final = 2


class NotBootable(ValueError):
    """No machine can boot this file; the text is the predicate of a sentence about it."""


@dataclass(frozen=True, slots=True)
class Initramfs:
    """How an initramfs is packed: each archive in it, up to the first that is compressed."""

    packings: tuple[str, ...]


def kernel_for(head: bytes, arch: Arch) -> Kernel:
    """Return the kernel whose first `HEAD` bytes are ``head``.

    Raises:
        NotBootable: it is no kernel, or for another architecture.
    """
    if not head:
        raise NotBootable("its kernel is empty")
    try:
        kernel = inspect(head)
    except UnknownKernel as unknown:
        raise NotBootable(f"its kernel is {unknown}") from unknown
    if kernel.arch is not arch:
        raise NotBootable(f"its kernel is {kernel}, and this machine is {arch}")
    return kernel


def kernel_warnings(kernel: Kernel, head: bytes) -> Iterator[str]:
    """Yield each reason why some machines cannot boot the kernel, as a clause."""
    if kernel.format is Format.BZIMAGE:
        if not head[_RELOCATABLE]:
            yield "it is not relocatable (CONFIG_RELOCATABLE), which kexec needs"
        (flags,) = struct.unpack_from("<H", head, _XLOADFLAGS)
        if not flags & _ABOVE_4G:
            yield "it cannot be loaded above 4 GiB, as kexec does on machines with more memory"
    if not kernel.by_kexec:
        yield f"it is {kernel}, which the firmware alone can start"
    elif not kernel.by_firmware:
        yield "it has no EFI stub, so the firmware cannot start it where kexec fails"


def initramfs_of(read: Read, size: int) -> Initramfs:
    """Return the compression of an initramfs; an uncompressed microcode archive may precede it.

    Raises:
        NotBootable: no kernel unpacks it.
        OSError: it cannot be read.
    """
    if not size:
        raise NotBootable("its initramfs is empty")
    packings: list[str] = []
    at = _past_zeros(read, 0, size)
    while at < size:
        magic = read(6, at)
        if magic in _CPIO_MAGICS:
            packings.append(CPIO)
            at = _past_zeros(read, _past_archive(read, at, size), size)
            continue
        name = next((name for start, name in _PACKINGS if magic.startswith(start)), None)
        if name is not None:
            return Initramfs((*packings, name))
        break
    if at < size or not packings:
        raise NotBootable(f"its initramfs {_unknown(read(HEAD, at))}")
    return Initramfs(tuple(packings))


def file_system_of(read: Read) -> str | None:
    """Return the file system that the super block of a rootfs names, or None."""
    return next((name for at, magic, name in _FILE_SYSTEMS if read(len(magic), at) == magic), None)


def uki_for(head: bytes, arch: Arch) -> Kernel:
    """Return the kernel in a UKI.

    Raises:
        NotBootable: it is no kernel, or for another architecture.
    """
    try:
        kernel = inspect(head)
    except UnknownKernel as unknown:
        raise NotBootable(f"its uki is {unknown if head else 'empty'}") from unknown
    if kernel.format is not Format.UKI or kernel.arch is not arch:
        raise NotBootable(f"its uki is {kernel}, and not a {Format.UKI} for {arch}")
    return kernel


def _unknown(head: bytes) -> str:
    if head.startswith(_LZ4_FRAME):
        return "is an lz4 frame, which Linux does not unpack: compress it with `lz4 -l`"
    try:
        return f"is {inspect(head)}"
    except UnknownKernel as unknown:
        known = str(unknown) != "no kernel at all"
        what = str(unknown) if known else "something else"
        return f"is no cpio archive and not compressed in a way that Linux unpacks, but {what}"


def _past_zeros(read: Read, at: int, size: int) -> int:
    while at < size:
        piece = read(HEAD, at)
        rest = piece.lstrip(b"\0")
        at += len(piece) - len(rest)
        if rest or not piece:
            break
    return at


def _past_archive(read: Read, at: int, size: int) -> int:
    """Return the offset after the trailer of an uncompressed archive."""
    for _ in range(MAX_MEMBERS):
        head = read(_CPIO_HEAD, at)
        if len(head) < _CPIO_HEAD or head[:6] not in _CPIO_MAGICS:
            raise NotBootable("its initramfs is a cpio archive that breaks off")
        try:
            length, named = int(head[54:62], 16), int(head[94:102], 16)
        except ValueError:
            raise NotBootable("its initramfs is a cpio archive with a broken header") from None
        name = read(min(named, 32), at + _CPIO_HEAD)
        at = _aligned(_aligned(at + _CPIO_HEAD + named) + length)
        if name.rstrip(b"\0") == TRAILER.encode():
            return at
        if at > size:
            raise NotBootable("its initramfs is a cpio archive that breaks off")
    return size


def _aligned(at: int) -> int:
    return at + -at % ALIGNMENT
