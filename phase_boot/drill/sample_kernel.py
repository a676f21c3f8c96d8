"""A small kernel image: headers as Linux writes them (boot protocol, PE/COFF), and a short body."""

from __future__ import annotations

import struct
from collections.abc import Sequence

AMD64, ARM64, I386 = 0x8664, 0xAA64, 0x14C


def pe(
    machine: int = AMD64,
    *,
    sections: Sequence[bytes] = (b".text",),
    start: int = 0x40,
    signed: bool = False,
    subsystem: int = 10,
) -> bytes:
    """Return the MZ and PE headers of a program for the firmware."""
    optional = bytearray(112 + 16 * 8)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<H", optional, 68, subsystem)
    struct.pack_into("<I", optional, 108, 16)
    struct.pack_into("<II", optional, 112 + 32, 0x1000 if signed else 0, 8 if signed else 0)
    coff = struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, len(optional), 0)
    table = b"".join(name.ljust(40, b"\0") for name in sections)
    head = bytearray(start)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, start)
    return bytes(head) + b"PE\0\0" + coff + bytes(optional) + table


def bzimage(
    body: bytes = b"bzImage", *, stub: bool = True, signed: bool = False, old: bool = False
) -> bytes:
    """Return a kernel for x86, with the stub for the firmware; an `old` one has 32 bits."""
    head = bytearray(0x3C0)
    if stub:
        # Past the setup header, as in kernels since 6.7.
        program = pe(AMD64, start=0x270, signed=signed)
        head[: len(program)] = program
    struct.pack_into("<H", head, 0x1FE, 0xAA55)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x020F)
    head[0x234] = 1
    struct.pack_into("<H", head, 0x236, 0 if old else 3)
    struct.pack_into("<H", head, 0x20E, 0x1A0)
    text = b"6.12.1-phase (builder) #1\0"
    head[0x3A0 : 0x3A0 + len(text)] = text
    return bytes(head) + body
