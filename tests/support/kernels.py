"""Kernels of every supported format, with headers as Linux writes them."""

from __future__ import annotations

import gzip
import struct

from phase_boot.drill.sample_kernel import AMD64, ARM64, pe


def arm64_image(body: bytes = b"Image", *, stub: bool = True, size: int = 1 << 20) -> bytes:
    """Return a kernel for arm64, with the stub for the firmware unless ``stub`` is false."""
    head = bytearray(pe(ARM64)) if stub else bytearray(64)
    struct.pack_into("<Q", head, 16, size)
    head[56:60] = b"ARM\x64"
    return bytes(head) + body


def gzipped(inner: bytes) -> bytes:
    """Return a kernel as `gzip` packs it, always the same bytes."""
    return gzip.compress(inner, mtime=0)


def zboot(inner: bytes, *, packing: bytes = b"gzip", machine: int = ARM64) -> bytes:
    """Return a self-extracting EFI program (EFI_ZBOOT) of ``inner``."""
    head = bytearray(pe(machine, start=0x48))
    payload = gzipped(inner) if packing == b"gzip" else inner
    head[4:8] = b"zimg"
    struct.pack_into("<II", head, 8, len(head), len(payload))
    head[24 : 24 + len(packing)] = packing
    return bytes(head) + payload


def uki(machine: int = AMD64, *, signed: bool = False) -> bytes:
    """Return the headers of a unified kernel image."""
    return pe(machine, sections=(b".text", b".linux", b".initrd", b".cmdline"), signed=signed)
