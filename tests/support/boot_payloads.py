"""Verified images as the boot methods take them."""

from __future__ import annotations

from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import HEAD, inspect
from phase_boot.ports.loader import BootPayload, StagingSupport
from phase_boot.store.content_store import ContentStore, VerifiedFile

KERNEL = bzimage(b"kernel" * 1000)
INITRAMFS = b"initramfs" * 1000


def fetched(name: str, data: bytes) -> VerifiedFile:
    """Return a verified artifact."""
    cas = ContentStore(MemoryDisk(), bound=1 << 24)
    artifact = Artifact(name, Digest.of(data), len(data))
    with cas.stream_writer(artifact) as writer:
        writer.write(data)
        writer.commit()
    return cas.open(artifact)


def payload(kernel: bytes = KERNEL, *, whole: bool = False) -> BootPayload:
    """Return a kernel with its initramfs, or alone if it is `whole`."""
    image = fetched("uki" if whole else "kernel", kernel)
    initrd = Initrd(initramfs=fetched("initramfs", INITRAMFS), document=b"{}", rootfs=None)
    return BootPayload(
        image=image,
        kernel=inspect(image.read(HEAD)),
        initrd=None if whole else initrd,
        cmdline="quiet phase.mode=internet",
        version="2025.11.12",
    )


PROTECTED = StagingSupport(obstacle="the stick is write-protected")
