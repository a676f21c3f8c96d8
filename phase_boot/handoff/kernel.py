"""Identifies a kernel by its first bytes: untrusted bytes in, facts out.

The headers are those of Linux' `Documentation/arch/x86/boot.rst`, `arch/arm64/booting.rst`,
`drivers/firmware/efi/libstub/zboot-header.S`, and of the PE format.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from phase_boot.content.arch import Arch

HEAD: Final = 256 * 1024
"""Bytes of a file that `inspect` reads, or the whole of a shorter file."""
MAX_UNPACKED: Final = 256 * 1024 * 1024
"""Largest unpacked kernel in bytes."""

_GZIP: Final = b"\x1f\x8b\x08"
_INNER: Final = 4096
"""Bytes of an unpacked kernel that are inspected."""
_MACHINES: Final[Mapping[int, Arch]] = MappingProxyType({0x8664: Arch.AMD64, 0xAA64: Arch.ARM64})
_EFI_APPLICATION: Final = 10
_MZ_BYTES: Final = 0x40
_PE32, _PE32_PLUS = 0x10B, 0x20B
_MAX_SECTIONS: Final = 96
_CERTIFICATES: Final = 4
"""Index of the PE data directory that holds signatures."""
_OLDEST_PROTOCOL: Final = 0x020C
"""Boot protocol 2.12 introduced `xloadflags`, which marks a 64-bit kernel."""
_KERNEL_64: Final = 1
_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x7fELF", "an ELF file (vmlinux)"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"BZh", "a bzip2 file"),
    (b"\x02\x21\x4c\x18", "an lz4 file"),
    (b"\x04\x22\x4d\x18", "an lz4 file"),
    (b"070701", "a cpio archive"),
    (b"hsqs", "a squashfs"),
    (b"#!", "a script"),
)


class UnknownKernel(ValueError):
    """A file is not a kernel of a supported kind; the text says what it is."""


@unique
class Format(StrEnum):
    """Kinds of kernel files, by their common names."""

    BZIMAGE = "bzImage"
    IMAGE = "Linux Image"
    GZIP = "gzip-packed Linux Image"
    ZBOOT = "EFI zboot kernel"
    UKI = "unified kernel image"
    EFI = "EFI program"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Offset of a packed kernel's gzip stream, and the size of its unpacked Image."""

    offset: int
    unpacked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The facts in a kernel's header.

    Attributes:
        format: the kind of file.
        arch: the architecture it runs on.
        by_kexec: whether kexec can start it, after unpacking if packed.
        by_firmware: whether the firmware can start it, after unpacking if packed.
        signed: whether it carries an Authenticode signature, by any key.
        version: its version string.
        packing: its compression, such as `zstd22`.
        packed: its gzip stream, if it has to be unpacked before kexec.
    """

    format: Format
    arch: Arch
    by_kexec: bool
    by_firmware: bool
    signed: bool = False
    version: str | None = None
    packing: str | None = None
    packed: Packed | None = None

    def __str__(self) -> str:
        packing = f" ({self.packing})" if self.packing else ""
        article = "an" if self.format.startswith("E") else "a"
        return f"{article} {self.format}{packing} for {self.arch}"


def inspect(head: bytes) -> Kernel:
    """Return the facts in the first `HEAD` bytes of a file.

    Raises:
        UnknownKernel: it is none of the formats, or for processors we do not run on.
    """
    if head.startswith(_GZIP):
        return _gzip(head)
    if head[56:60] == b"ARM\x64":
        return _arm64(head)
    if head[0x202:0x206] == b"HdrS":
        return _bzimage(head)
    program = _Program.of(head)
    if program is None:
        raise UnknownKernel(_name_of(head))
    if head[4:8] == b"zimg":
        return _zboot(head, program)
    uki = b".linux" in program.sections
    return Kernel(
        format=Format.UKI if uki else Format.EFI,
        arch=program.arch,
        by_kexec=False,
        by_firmware=True,
        signed=program.signed,
    )


def _bzimage(head: bytes) -> Kernel:
    (protocol,) = _numbers("<H", head, 0x206)
    (flags,) = _numbers("<H", head, 0x236)
    if protocol < _OLDEST_PROTOCOL or not flags & _KERNEL_64:
        raise UnknownKernel("a bzImage for 32-bit processors")
    program = _Program.of(head)
    return Kernel(
        format=Format.BZIMAGE,
        arch=Arch.AMD64,
        by_kexec=True,
        by_firmware=program is not None and program.arch is Arch.AMD64,
        signed=program is not None and program.signed,
        version=_version(head),
    )


def _arm64(head: bytes) -> Kernel:
    program = _Program.of(head)
    return Kernel(
        format=Format.IMAGE,
        arch=Arch.ARM64,
        by_kexec=True,
        by_firmware=program is not None and program.arch is Arch.ARM64,
        signed=program is not None and program.signed,
    )


def _gzip(head: bytes) -> Kernel:
    inner = _first_unpacked(head)
    if inner[56:60] != b"ARM\x64":
        raise UnknownKernel("a gzip file with no arm64 Image in it")
    packed = Packed(offset=0, unpacked=_image_size(inner))
    return replace(_arm64(inner), format=Format.GZIP, packed=packed, signed=False)


def _zboot(head: bytes, program: _Program) -> Kernel:
    """An EFI program that unpacks the kernel by itself; the running kernel cannot."""
    offset, _size = _numbers("<II", head, 8)
    packing = head[24:56].partition(b"\0")[0]
    if not re.fullmatch(rb"[a-z0-9]{1,16}", packing):
        raise UnknownKernel("an EFI zboot kernel that does not say how it is packed")
    packed = None
    if packing == b"gzip" and program.arch is Arch.ARM64:
        inner = _first_unpacked(head[offset:])
        if inner[56:60] != b"ARM\x64":
            raise UnknownKernel("an EFI zboot kernel with no arm64 Image in it")
        packed = Packed(offset=offset, unpacked=_image_size(inner))
    return Kernel(
        format=Format.ZBOOT,
        arch=program.arch,
        by_kexec=packed is not None,
        by_firmware=True,
        signed=program.signed,
        packing=packing.decode("ascii"),
        packed=packed,
    )


def _first_unpacked(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(stream, _INNER)
    except zlib.error:
        return b""


def _image_size(inner: bytes) -> int:
    """Return how much memory an arm64 Image wants, which is never less than its bytes."""
    (size,) = _numbers("<Q", inner, 16)
    if not 0 < size <= MAX_UNPACKED:
        raise UnknownKernel(f"an arm64 Image that wants {size >> 20} MiB for itself")
    return int(size)


def _version(head: bytes) -> str | None:
    (pointer,) = _numbers("<H", head, 0x20E)
    start = pointer + 0x200
    text = head[start : start + 64].partition(b" ")[0].partition(b"\0")[0]
    return text.decode("ascii") if pointer and re.fullmatch(rb"[!-~]{1,64}", text) else None


def _name_of(head: bytes) -> str:
    return next((name for magic, name in _OTHERS if head.startswith(magic)), "no kernel at all")


def _numbers(form: str, head: bytes, offset: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, head, offset)
    except struct.error:
        raise UnknownKernel("a kernel that breaks off in its header") from None


@dataclass(frozen=True, slots=True)
class _Program:
    """What the PE header says of a program for the firmware."""

    arch: Arch
    sections: frozenset[bytes]
    signed: bool

    @classmethod
    def of(cls, head: bytes) -> _Program | None:
        """Return it, or None if the file is no PE file at all."""
        if not head.startswith(b"MZ") or len(head) < _MZ_BYTES:
            return None
        (start,) = _numbers("<I", head, 0x3C)
        if head[start : start + 4] != b"PE\0\0":
            return None
        machine, count = _numbers("<HH", head, start + 4)
        (room,) = _numbers("<H", head, start + 20)
        optional, table = start + 24, start + 24 + room
        (subsystem,) = _numbers("<H", head, optional + 68)
        if subsystem != _EFI_APPLICATION:
            raise UnknownKernel("a program for another system than the firmware")
        if machine not in _MACHINES:
            raise UnknownKernel(f"a program for other processors (PE machine {machine:#06x})")
        if count > _MAX_SECTIONS or table + 40 * count > len(head):
            raise UnknownKernel("an EFI program with too large a header")
        names = (head[at : at + 8].rstrip(b"\0") for at in range(table, table + 40 * count, 40))
        return cls(_MACHINES[machine], frozenset(names), _has_signature(head, optional))


def _has_signature(head: bytes, optional: int) -> bool:
    """Tell whether the directory of certificates is there and not empty."""
    (magic,) = _numbers("<H", head, optional)
    at = {_PE32: optional + 92, _PE32_PLUS: optional + 108}.get(magic)
    if at is None:
        raise UnknownKernel("an EFI program of unknown kind")
    (directories,) = _numbers("<I", head, at)
    if directories <= _CERTIFICATES:
        return False
    (size,) = _numbers("<I", head, at + 4 + 8 * _CERTIFICATES + 4)
    return size > 0
