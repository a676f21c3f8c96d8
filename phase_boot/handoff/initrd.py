"""The initrd of the target: its own initramfs, and ours appended (SPEC "Handover")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from phase_boot.handoff.cpio import Entry, archive, head, padding
from phase_boot.store.cas import Fetched

DOCUMENT: Final = "phase/handoff.json"
ROOTFS: Final = "phase/rootfs.squashfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Initrd:
    """What the kernel unpacks: the verified initramfs, the document, perhaps the rootfs."""

    initramfs: Fetched
    document: bytes
    rootfs: Fetched | None

    @property
    def size(self) -> int:
        """Its length in bytes, before the kernel unpacks it."""
        parts = self.parts()
        return sum(len(p) if isinstance(p, bytes) else p.artifact.size for p in parts)

    def parts(self) -> Iterator[bytes | Fetched]:
        """Yield what to concatenate, in order."""
        yield self.initramfs
        yield padding(self.initramfs.artifact.size)
        if self.rootfs is not None:
            yield archive([Entry.folder("phase")], end=False)
            yield head(Entry.file(ROOTFS, b""), size=self.rootfs.artifact.size)
            yield self.rootfs
            yield padding(self.rootfs.artifact.size)
        yield archive([Entry.folder("phase"), Entry.file(DOCUMENT, self.document)])
