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
    files: Mapping[str, Path], arch: Arch, beside: Path | None = None
) -> Iterator[str]:
    """Yield a sentence for all that only some machines or images can do without.

    Args:
        files: the artifacts by name.
        arch: which machines they are for.
        beside: the kernel as the publisher named it, beside which its configuration may stand.

    Raises:
        UnbootableError: no machine can boot them.
        OSError: one cannot be read.
    """
    try:
        yield from _boot_warnings(files, arch, beside)
    except (NotBootable, UnknownKernel) as error:
        raise UnbootableError(
            f"No machine for {arch} could boot this: {error}. Name other files, or use "
            "--skip-image-checks if you know better."
        ) from error


def _boot_warnings(files: Mapping[str, Path], arch: Arch, beside: Path | None) -> Iterator[str]:
    with files["kernel"].open("rb") as file:
        head = file.read(HEAD)
        kernel = _kernel(head, files, arch)
        if kernel.packed is not None:
            file.seek(0)
            for _ in unpacked(iter(lambda: file.read(BUFFER_SIZE), b""), kernel.packed):
                pass
        for doubt in artifact_check.kernel_warnings(kernel, head):
            yield f"The kernel may not start everywhere: {doubt}."
        options = _options(_config_beside(beside, kernel) or _config_within(file, kernel, head))
    with files["initramfs"].open("rb") as file:
        packed = artifact_check.initramfs_of(_reader(file), file.seek(0, 2))
    if "uki" in files:
        with files["uki"].open("rb") as file:
            if not artifact_check.uki_for(file.read(HEAD), arch).signed:
                yield "The uki has no signature, so no firmware with Secure Boot starts it."
    system = None
    if "rootfs" in files:
        with files["rootfs"].open("rb") as file:
            system = artifact_check.file_system_of(_reader(file))
        if system is None:
            yield (
                "The rootfs is no file system that is known here: only an initramfs that knows "
                "what it is can use it."
            )
    if options is not None:
        yield from _option_warnings(options, arch, packed, system)
    elif beside is not None:
        # In a SITE nothing stands beside a kernel; the publisher was told when it was added.
        yield (
            "The kernel's configuration cannot be seen, so it is not known whether it unpacks this "
            "initramfs: put its config-VERSION beside it."
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
        yield f"The configuration beside the kernel is not one for {arch}, so it is not used."
        return
    wanted = {"BLK_DEV_INITRD", *(f"RD_{name.upper()}" for name in packed.packings if name != CPIO)}
    if lacking := sorted(wanted - options):
        names = ", ".join(f"CONFIG_{name}" for name in lacking)
        raise NotBootable(f"its kernel lacks {names}, so it does not unpack its initramfs")
    if forced := sorted(_FORCED & options):
        yield f"The kernel ignores its command line (CONFIG_{forced[0]}), and with it phase.rootfs."
    if system is not None and OPTIONS[system] not in options:
        yield f"The kernel cannot mount the rootfs by itself (CONFIG_{OPTIONS[system]} is not set)."
    if system in {"squashfs", "erofs"} and "OVERLAY_FS" not in options:
        yield "The kernel has no overlay (CONFIG_OVERLAY_FS) over a rootfs that is read-only."


def _options(config: str | None) -> frozenset[str] | None:
    """Return the options that are built in or modules, without CONFIG_."""
    if config is None:
        return None
    # Modules are in the initramfs, where there are any; what unpacks that is never one.
    return frozenset(match[1] for match in _OPTION.finditer(config))


def _config_beside(kernel: Path | None, facts: Kernel) -> str | None:
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


def _config_within(file: IO[bytes], kernel: Kernel, head: bytes) -> str | None:
    """Return the configuration that a kernel carries (CONFIG_IKCONFIG), where it can be unpacked.

    The kernel within a bzImage is packed; of the ways to pack it zstd, lz4 and lzo are not known
    to Python 3.11.
    """
    file.seek(0)
    raw = iter(lambda: file.read(BUFFER_SIZE), b"")
    if kernel.packed is not None:
        return _searched(unpacked(raw, kernel.packed))
    if kernel.format is Format.IMAGE:
        return _searched(raw)
    if kernel.format is not Format.BZIMAGE:
        return None
    setup = head[0x1F1] or 4
    offset, length = struct.unpack_from("<II", head, 0x248)
    file.seek((setup + 1) * 512 + offset)
    return _searched(_payload(file, length))


def _payload(file: IO[bytes], length: int) -> Iterator[bytes]:
    start = file.read(6)
    make = next((make for magic, make in _UNPACKERS if start.startswith(magic)), None)
    if make is None:
        return
    stream, left, room = make(), length, MAX_UNPACKED
    piece = start
    while piece and not stream.eof and room > 0:
        try:
            out = stream.decompress(piece)
        except (zlib.error, lzma.LZMAError, OSError, ValueError):
            return
        room -= len(out)
        yield out
        left -= len(piece)
        piece = file.read(min(64 * 1024, max(0, left)))


def _searched(pieces: Iterator[bytes]) -> str | None:
    kept, found = b"", False
    for piece in pieces:
        kept += piece
        if not found:
            at = kept.find(_IKCONFIG)
            found = at >= 0
            kept = kept[at + len(_IKCONFIG) :] if found else kept[-len(_IKCONFIG) :]
        if found and len(kept) >= _MAX_CONFIG:
            break
    if not found:
        return None
    try:
        return zlib.decompressobj(wbits=31).decompress(kept, _MAX_CONFIG).decode("utf-8", "replace")
    except zlib.error:
        return None


def _reader(file: IO[bytes]) -> artifact_check.Read:
    def read(size: int, at: int) -> bytes:
        file.seek(at)
        return file.read(size)

    return read
