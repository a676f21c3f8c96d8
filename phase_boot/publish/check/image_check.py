"""Checks of the files of a version before it is signed, with the rules of the handoff."""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from phase_boot.content.arch import Arch
from phase_boot.handoff import artifact_check
from phase_boot.handoff.artifact_check import CPIO, OPTIONS, Initramfs, NotBootable
from phase_boot.handoff.kernel import HEAD, MAX_UNPACKED, Format, Kernel, UnknownKernel
from phase_boot.handoff.unpack import BUFFER_SIZE, unpacked

_MAX_CONFIG: Final = 4 * 1024 * 1024
_OPTION: Final = re.compile(r"^CONFIG_(\w+)=([ym])$", re.MULTILINE)
_IKCONFIG: Final = b"IKCFG_ST"
_ARCHES: Final[Mapping[str, Arch]] = {"X86_64": Arch.AMD64, "ARM64": Arch.ARM64}
_FORCED: Final = frozenset({"CMDLINE_OVERRIDE", "CMDLINE_FORCE"})
_UNPACKERS: Final[tuple[tuple[bytes, Callable[[], Any]], ...]] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"\xfd7zXZ", lzma.LZMADecompressor),
    (b"\x5d\x00\x00", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE)),
    (b"BZh", bz2.BZ2Decompressor),
)


class UnbootableError(ValueError):
    """No machine can boot these files; the text is one sentence with the way out."""


def boot_warnings(
    files: Mapping[str, Path], arch: Arch, original_kernel: Path | None = None
) -> Iterator[str]:
    """Yield a warning for each property with which some machines cannot boot the files.

    Args:
        files: the artifacts by name.
        arch: the architecture of the machines.
        original_kernel: the kernel as the publisher named it; its configuration may lie beside it.

    Raises:
        UnbootableError: no machine can boot them.
        OSError: a file cannot be read.
    """
    try:
        yield from _boot_warnings(files, arch, original_kernel)
    except (NotBootable, UnknownKernel) as error:
        raise UnbootableError(
            f"No machine for {arch} could boot this: {error}. Name other files, or use "
            "--skip-image-checks to publish them anyway."
        ) from error


def _boot_warnings(
    files: Mapping[str, Path], arch: Arch, original_kernel: Path | None
) -> Iterator[str]:
    with files["kernel"].open("rb") as file:
        head = file.read(HEAD)
        kernel = _kernel(head, files, arch)
        if kernel.packed is not None:
            file.seek(0)
            for _ in unpacked(iter(lambda: file.read(BUFFER_SIZE), b""), kernel.packed):
                pass
        for doubt in artifact_check.kernel_warnings(kernel, head):
            yield f"The kernel may not start everywhere: {doubt}."
        options = _options(
            _adjacent_config(original_kernel, kernel) or _embedded_config(file, kernel, head)
        )
    with files["initramfs"].open("rb") as file:
        packed = artifact_check.initramfs_of(_reader(file), file.seek(0, 2))
    if "uki" in files:
        with files["uki"].open("rb") as file:
            if not artifact_check.uki_for(file.read(HEAD), arch).signed:
                yield "The uki is not signed, so firmware with Secure Boot does not start it."
    system = None
    if "rootfs" in files:
        with files["rootfs"].open("rb") as file:
            system = artifact_check.file_system_of(_reader(file))
        if system is None:
            yield (
                "The rootfs has an unknown file system: only an initramfs that supports "
                "it can use it."
            )
    if options is not None:
        yield from _option_warnings(options, arch, packed, system)
    elif original_kernel is not None:
        # A SITE has no configurations; `phase-boot publish` has given this warning.
        yield (
            "The kernel's configuration is not available, so it is unknown whether it unpacks this "
            "initramfs: put its config-VERSION in the same folder."
        )


def _kernel(head: bytes, files: Mapping[str, Path], arch: Arch) -> Kernel:
    try:
        return artifact_check.kernel_for(head, arch)
    except NotBootable:
        with files["initramfs"].open("rb") as file:
            try:
                artifact_check.kernel_for(file.read(HEAD), arch)
                artifact_check.initramfs_of(lambda size, at: head[at : at + size], len(head))
            except NotBootable:
                swapped = False
            else:
                swapped = True
        if not swapped:
            raise
        raise NotBootable("its kernel and its initramfs are swapped") from None


def _option_warnings(
    options: frozenset[str], arch: Arch, packed: Initramfs, system: str | None
) -> Iterator[str]:
    found = {known for name, known in _ARCHES.items() if name in options}
    if found != {arch}:
        yield f"The configuration beside the kernel is not for {arch}, so it is not used."
        return
    wanted = {"BLK_DEV_INITRD", *(f"RD_{name.upper()}" for name in packed.packings if name != CPIO)}
    if lacking := sorted(wanted - options):
        names = ", ".join(f"CONFIG_{name}" for name in lacking)
        raise NotBootable(f"its kernel lacks {names}, so it cannot unpack its initramfs")
    if forced := sorted(_FORCED & options):
        yield f"The kernel ignores its command line (CONFIG_{forced[0]}), and so phase.rootfs."
    if system is not None and OPTIONS[system] not in options:
        yield f"The kernel cannot mount the rootfs by itself (CONFIG_{OPTIONS[system]} is not set)."
    if system in {"squashfs", "erofs"} and "OVERLAY_FS" not in options:
        yield "The kernel lacks overlayfs (CONFIG_OVERLAY_FS), which a read-only rootfs needs."


def _options(config: str | None) -> frozenset[str] | None:
    """Return the options that are built in or modules, without CONFIG_."""
    if config is None:
        return None
    # Modules count: they are in the initramfs. The code that unpacks it is never a module.
    return frozenset(match[1] for match in _OPTION.finditer(config))


def _adjacent_config(kernel: Path | None, facts: Kernel) -> str | None:
    if kernel is None:
        return None
    _, _, version = kernel.name.partition("-")
    names = ("config", *(f"config-{each}" for each in (version, facts.version) if each))
    for name in reversed(names):
        path = kernel.with_name(name)
        if path.is_file():
            with path.open("rb") as file:
                return file.read(_MAX_CONFIG).decode("utf-8", "replace")
    return None


def _embedded_config(file: IO[bytes], kernel: Kernel, head: bytes) -> str | None:
    """Return the embedded configuration (CONFIG_IKCONFIG) of a kernel, if it can be unpacked.

    The kernel within a bzImage is compressed; Python 3.11 does not support zstd, lz4 and lzo.
    """
    file.seek(0)
    raw = iter(lambda: file.read(BUFFER_SIZE), b"")
    if kernel.packed is not None:
        return _find_config(unpacked(raw, kernel.packed))
    if kernel.format is Format.IMAGE:
        return _find_config(raw)
    if kernel.format is not Format.BZIMAGE:
        return None
    setup = head[0x1F1] or 4
    offset, length = struct.unpack_from("<II", head, 0x248)
    file.seek((setup + 1) * 512 + offset)
    return _find_config(_payload(file, length))


def _payload(file: IO[bytes], length: int) -> Iterator[bytes]:
    start = file.read(6)
    make = next((make for magic, make in _UNPACKERS if start.startswith(magic)), None)
    if make is None:
        return
    stream, left, budget = make(), length, MAX_UNPACKED
    piece = start
    while piece and not stream.eof and budget > 0:
        try:
            out = stream.decompress(piece)
        except (zlib.error, lzma.LZMAError, OSError, ValueError):
            return
        budget -= len(out)
        yield out
        left -= len(piece)
        piece = file.read(min(64 * 1024, max(0, left)))


def _find_config(pieces: Iterator[bytes]) -> str | None:
    buffer, found = b"", False
    for piece in pieces:
        buffer += piece
        if not found:
            at = buffer.find(_IKCONFIG)
            found = at >= 0
            buffer = buffer[at + len(_IKCONFIG) :] if found else buffer[-len(_IKCONFIG) :]
        if found and len(buffer) >= _MAX_CONFIG:
            break
    if not found:
        return None
    try:
        return (
            zlib.decompressobj(wbits=31).decompress(buffer, _MAX_CONFIG).decode("utf-8", "replace")
        )
    except zlib.error:
        return None


def _reader(file: IO[bytes]) -> artifact_check.Read:
    def read(size: int, at: int) -> bytes:
        file.seek(at)
        return file.read(size)

    return read
