"""Combines the target's initrd: the publisher's initramfs, then ours (SPEC "Handover")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.handoff.cpio import MAX_FILE, Entry, archive, head, padding
from phase_boot.handoff.document import MAX_BYTES
from phase_boot.store.content_store import VerifiedFile

DOCUMENT: Final = "phase/handoff.json"
ROOTFS: Final = "phase/rootfs.squashfs"
GAP: Final = 4
"""Zero bytes, at least, between the publisher's initramfs and the appended archive.

The kernel skips them (init/initramfs.c), and its reader of lz4 archives, which have no end mark,
takes four of them for the end (lib/decompress_unlz4.c, Linux 5.9 and later).
"""
MAX_SIZE: Final = 2**32 - 1
"""Bytes of a whole initrd: a size in a newc archive and a file on FAT32 end there, and
`kexec_file_load` reads 4 GiB at most (KEXEC_FILE_SIZE_MAX, Linux 6.0).

The architectures allow more: amd64 kernels that can be loaded above 4 GiB, which kexec asks for,
take an initrd at any address (Documentation/arch/x86/boot.rst), arm64 ones within 32 GiB of the
kernel (Documentation/arch/arm64/booting.rst).
"""
GIB: Final = 1024**3
TAIL: Final = 15
"""Bytes at the end of an initramfs that `obstacle_behind` reads."""
_BOOTCONFIG: Final = b"#BOOTCONFIG\n"
"""Ends a boot configuration, which is the last part of an initrd (up to three zero bytes follow):
Documentation/admin-guide/bootconfig.rst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initrd:
    """The verified initramfs, the hand-over document, and the rootfs unless it is on Cache."""

    initramfs: VerifiedFile
    document: bytes
    rootfs: VerifiedFile | None

    @property
    def size(self) -> int:
        """Its length in bytes, before the kernel unpacks it."""
        parts = self.parts()
        return sum(len(p) if isinstance(p, bytes) else p.artifact.size for p in parts)

    def parts(self) -> Iterator[bytes | VerifiedFile]:
        """Yield the parts to concatenate, in order."""
        yield self.initramfs
        yield gap_after(self.initramfs.artifact.size)
        if self.rootfs is not None:
            yield archive([Entry.folder("phase")], end=False)
            yield head(Entry.file(ROOTFS, b""), size=self.rootfs.artifact.size)
            yield self.rootfs
            yield padding(self.rootfs.artifact.size)
        yield archive([Entry.folder("phase"), Entry.file(DOCUMENT, self.document)])


def gap_after(size: int) -> bytes:
    """Return the zero bytes between an initramfs of ``size`` bytes and the appended archive.

    They align the next archive as well: an uncompressed one begins at a multiple of 4 bytes.
    """
    return bytes(GAP) + padding(size + GAP)


def obstacle_to_appending(
    artifacts: Mapping[str, Artifact], *, rootfs_on_cache: bool
) -> str | None:
    """Return why ``artifacts`` do not fit into an initrd, or None.

    On Cache the rootfs stays where it is; else it is appended to the initramfs.
    """
    initramfs, rootfs = artifacts["initramfs"].size, artifacts["rootfs"].size
    if initramfs + MAX_BYTES > MAX_SIZE:
        return (
            f"its initramfs of {initramfs / GIB:.1f} GiB is too large for any kernel to be given "
            "(4 GiB at most): boot a version with a smaller one"
        )
    if not rootfs_on_cache and (rootfs > MAX_FILE or initramfs + rootfs + MAX_BYTES > MAX_SIZE):
        return (
            f"its rootfs of {rootfs / GIB:.1f} GiB does not fit into an initrd (4 GiB at most with "
            "the initramfs): boot Internet or Local from a stick with a Cache partition that holds "
            "it, or a version with a smaller one"
        )
    return None


def obstacle_behind(tail: bytes) -> str | None:
    """Return why nothing can follow an initramfs whose last bytes are ``tail``, or None.

    The kernel looks for a boot configuration at the end of the initrd, and stops unpacking where
    it meets one in the middle.
    """
    if _BOOTCONFIG not in tail[-TAIL:]:
        return None
    return (
        "its initramfs ends in a boot configuration (bootconfig), behind which a kernel finds "
        "nothing: boot a version without one, whose command line says the same"
    )
