"""Loading another kernel and jumping into it."""

from __future__ import annotations

from typing import Protocol

from phase_boot.handoff.initrd import Initrd
from phase_boot.store.cas import Fetched


class Kexec(Protocol):
    """Takes only what was verified: an unverified kernel does not type-check."""

    async def load(self, kernel: Fetched, initrd: Initrd, cmdline: str) -> str:
        """Hand the images to the running kernel and return the system call that took them.

        Raises:
            KexecRefused: it would not; the sentence explains the errno in words.
        """

    async def jump(self) -> None:
        """Start the loaded kernel. Returns only where there is nothing to jump from (dry run).

        Raises:
            KexecRefused: the kernel would not.
        """
