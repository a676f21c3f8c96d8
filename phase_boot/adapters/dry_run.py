"""Everything but the jump: what `phase-boot daemon --dry-run` puts in kexec's place."""

from __future__ import annotations

from collections.abc import Callable

from phase_boot.handoff.initrd import Initrd
from phase_boot.store.cas import Fetched


class WouldBoot:
    """Implements `ports.kexec.Kexec` by telling what it was given."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell

    async def load(self, kernel: Fetched, initrd: Initrd, cmdline: str) -> str:
        """Tell what would be loaded."""
        rootfs = "appended to the initramfs" if initrd.rootfs else "found on Cache"
        self._tell(
            f"would boot kernel    {kernel.artifact.digest} ({kernel.artifact.size} bytes)\n"
            f"           initramfs {initrd.initramfs.artifact.digest} "
            f"({initrd.size} bytes with the hand-over)\n"
            f"           rootfs    {rootfs}\n"
            f"           cmdline   {cmdline}"
        )
        return "dry-run"

    async def jump(self) -> None:
        """Stay."""
