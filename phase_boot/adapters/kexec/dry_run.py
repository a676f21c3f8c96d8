"""Everything but the jump: what `phase-boot daemon --dry-run` puts in kexec's place."""

from __future__ import annotations

from collections.abc import Callable

from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel
from phase_boot.machine.errors import CannotChainload
from phase_boot.ports.kexec import KexecSupport, Method
from phase_boot.ports.loader import BootPayload, StagingSupport
from phase_boot.ports.privacy import Evidence
from phase_boot.store.content_store import VerifiedFile


class DryRunKexec:
    """Implements `ports.kexec.Kexec` by telling what it was given."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell

    async def support(self) -> KexecSupport:
        """Tell that anything could be loaded: a dry run says nothing about this machine."""
        return KexecSupport(methods=(Method.FILE,))

    async def load(
        self, image: VerifiedFile, kernel: Kernel, initrd: Initrd, cmdline: str, method: Method
    ) -> None:
        """Tell what would be loaded."""
        rootfs = "appended to the initramfs" if initrd.rootfs else "found on Cache"
        self._tell(
            f"would boot kernel    {image.artifact.digest} ({image.artifact.size} bytes)\n"
            f"                     {kernel}, by {method}\n"
            f"           initramfs {initrd.initramfs.artifact.digest} "
            f"({initrd.size} bytes with the hand-over)\n"
            f"           rootfs    {rootfs}\n"
            f"           cmdline   {cmdline}"
        )

    async def jump(self) -> None:
        """Stay."""


class NoLoader:
    """Implements `ports.loader.Loader` where there is no stick to stage anything on."""

    async def staging_support(self) -> StagingSupport:
        """Say so."""
        return StagingSupport(obstacle="nothing can be staged without a stick")

    async def stage(self, payload: BootPayload) -> str:
        """Refuse."""
        raise CannotChainload(f"{payload.version} cannot be staged without a stick")

    async def restart(self) -> None:
        """Refuse."""
        raise CannotChainload("a dry run restarts nothing")

    async def unstage(self) -> int:
        """Nothing was ever staged."""
        return 0


class NothingRequested:
    """Implements `ports.privacy.Privacy` where the machine's owner sets it up."""

    async def begin(self) -> None:
        """Nothing is set by a dry run."""

    async def evidence(self) -> Evidence:
        """Tell that nothing was requested."""
        return Evidence(requested=False)

    async def routes(self) -> tuple[str, ...]:
        """Tell of none: the owner's routes are not ours to judge."""
        return ()
