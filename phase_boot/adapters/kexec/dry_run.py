"""Dry-run implementations for `phase-boot daemon --dry-run`, which starts no kernel."""

from __future__ import annotations

from collections.abc import Callable

from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel
from phase_boot.machine.errors import CannotChainload
from phase_boot.ports.kexec import KexecSupport, Method
from phase_boot.ports.loader import BootPayload, StagingSupport
from phase_boot.ports.privacy import NOTHING_REQUESTED, Evidence
from phase_boot.ports.reports import NotSaved
from phase_boot.store.content_store import VerifiedFile


class DryRunKexec:
    """Implements `ports.kexec.Kexec` by printing its arguments."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell

    async def support(self) -> KexecSupport:
        """Report support for everything: a dry run does not check this machine."""
        return KexecSupport(methods=(Method.FILE,))

    async def load(
        self, image: VerifiedFile, kernel: Kernel, initrd: Initrd, cmdline: str, method: Method
    ) -> None:
        """Print the files and the command line."""
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
        """Do nothing."""


class NoLoader:
    """Implements `ports.loader.Loader` without a stick to stage on."""

    async def staging_support(self) -> StagingSupport:
        """Report that staging is unsupported."""
        return StagingSupport(obstacle="nothing can be staged without a stick")

    async def stage(self, payload: BootPayload) -> str:
        """Raise: a dry run does not do this."""
        raise CannotChainload(f"{payload.version} cannot be staged without a stick")

    async def restart(self) -> None:
        """Raise: a dry run does not do this."""
        raise CannotChainload("a dry run restarts nothing")

    async def unstage(self) -> int:
        """Do nothing: nothing is staged."""
        return 0


class NothingRequested:
    """Implements `ports.privacy.Privacy` on a desktop, which its owner configures."""

    async def begin(self) -> None:
        """Do nothing."""

    async def evidence(self) -> Evidence:
        """Return that nothing was requested."""
        return NOTHING_REQUESTED

    async def routes(self) -> tuple[str, ...]:
        """Return no routes: the owner configures them."""
        return ()


class NoReports:
    """Implements `ports.reports.Reports` on a desktop, which has no stick."""

    async def save(self, name: str, text: str) -> str:
        """Raise: there is no stick."""
        raise NotSaved(f"{name} was not started from a stick that {len(text)} bytes could go to")
