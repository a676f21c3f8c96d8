"""How much memory a hand-over takes, reckoned before it is begun (SPEC "Handover")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.handoff.kernel import Kernel

COPIES: Final = 3
"""What is handed over is in memory as we assemble it, as `kexec_file_load` reads it, and as the
kernel keeps it for the jump."""
MARGIN: Final = 32 * 1024 * 1024
"""Left to the seed itself: a machine that is out of memory gets slow before it says so."""


def required_to_start(artifacts: Mapping[str, Artifact], *, rootfs_on_cache: bool) -> int:
    """Return the bytes of memory it takes to load ``artifacts`` once they are stored.

    On Cache the rootfs stays where it is; else it goes along, appended to the initramfs.
    """
    kept = {"rootfs"} if rootfs_on_cache else set()
    loaded = {"kernel", "initramfs", "rootfs"} - kept
    return COPIES * sum(artifacts[name].size for name in loaded) + MARGIN


def extra_for_kernel(kernel: Kernel, extra: Sequence[Artifact], *, stored_on_cache: bool) -> int:
    """Return the bytes of memory that were not known of before the kernel was looked at."""
    unpacked = kernel.packed.unpacked if kernel.packed else 0
    stored = 0 if stored_on_cache else sum(artifact.size for artifact in extra)
    return COPIES * unpacked + stored


def required_to_fetch_and_start(artifacts: Mapping[str, Artifact], *, rootfs_on_cache: bool) -> int:
    """Return the bytes of memory it takes from before the download on.

    A store in memory holds all of them once more.
    """
    names = () if rootfs_on_cache else ("kernel", "initramfs", "rootfs")
    stored = sum(artifacts[name].size for name in names)
    return stored + required_to_start(artifacts, rootfs_on_cache=rootfs_on_cache)
