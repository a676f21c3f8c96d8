"""The firmware's loader: the other way to start an image, over a restart of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel
from phase_boot.store.content_store import VerifiedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingSupport:
    """Whether something could be staged here.

    Attributes:
        obstacle: one sentence on why nothing can, if so.
        secure_boot: whether the firmware starts only what is signed by somebody it trusts.
    """

    obstacle: str | None = None
    secure_boot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BootPayload:
    """What is to be started.

    Attributes:
        image: a verified kernel, or a verified UKI.
        kernel: what is known of it; one that is packed is unpacked.
        initrd: what goes with it; a UKI brings its own, and its own command line.
        cmdline: its command line.
        version: what the loader shows.
    """

    image: VerifiedFile
    kernel: Kernel
    initrd: Initrd | None
    cmdline: str
    version: str


class Loader(Protocol):
    """Stages an image on the stick, for one start and no more."""

    async def staging_support(self) -> StagingSupport:
        """Tell whether staging may work here. Nothing is written by asking, and it never fails."""

    async def stage(self, payload: BootPayload) -> str:
        """Write the image to the stick, check what was written, and tell the firmware's loader.

        Returns the name of the loader's entry.

        Raises:
            CannotChainload: it does not fit, could not be written, or reads back otherwise than
                it was signed. The loader was told nothing, and the stick boots as before.
        """

    async def restart(self) -> None:
        """Restart the machine. Returns once that has been asked for.

        Raises:
            CannotChainload: nobody would.
        """

    async def unstage(self) -> int:
        """Remove from the stick what was ever staged, and return how many files that were.

        Raises:
            CannotChainload: something of it is still there.
        """
