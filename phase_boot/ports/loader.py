"""Port of the firmware's boot loader, which starts an image by a restart of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel
from phase_boot.store.content_store import VerifiedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingSupport:
    """Whether an image can be staged on this machine.

    Attributes:
        obstacle: one sentence on why no image can be staged; None if one can.
        secure_boot: whether the firmware starts only images that are signed by a key it trusts.
    """

    obstacle: str | None = None
    secure_boot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BootPayload:
    """The image to start, with its initramfs and command line.

    Attributes:
        image: a verified kernel, or a verified UKI.
        kernel: the kernel's format; a compressed one is decompressed.
        initrd: the initramfs; None for a UKI, which has its own, and its own command line.
        cmdline: the kernel's command line.
        version: the version that the loader shows.
    """

    image: VerifiedFile
    kernel: Kernel
    initrd: Initrd | None
    cmdline: str
    version: str


class Loader(Protocol):
    """Stages an image on the stick, for a single start."""

    async def staging_support(self) -> StagingSupport:
        """Return whether staging may work. It writes nothing and never fails."""

    async def stage(self, payload: BootPayload) -> str:
        """Write the image to the stick, read it back, and select it for the next start.

        Returns the name of the loader's entry.

        Raises:
            CannotChainload: the image does not fit, could not be written, or reads back with other
                bytes than were signed. The loader's selection is unchanged.
        """

    async def restart(self) -> None:
        """Request a restart of the machine, and return.

        Raises:
            CannotChainload: the request was refused.
        """

    async def unstage(self) -> int:
        """Remove all staged files from the stick, and return their number.

        Raises:
            CannotChainload: a staged file could not be removed.
        """
