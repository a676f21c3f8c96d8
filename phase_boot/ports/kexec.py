"""Loading another kernel and jumping into it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Protocol

from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel
from phase_boot.store.content_store import VerifiedFile


@unique
class Method(StrEnum):
    """The two system calls that load a kernel, better one first."""

    FILE = "kexec_file_load"
    SEGMENTS = "kexec_load"


@dataclass(frozen=True, slots=True)
class KexecSupport:
    """What the running kernel would do.

    Attributes:
        methods: the calls that it has and that nothing forbids, better one first.
        forbidden: one sentence for each call that it has and something forbids.
    """

    methods: tuple[Method, ...]
    forbidden: tuple[str, ...] = ()


class LoadRefused(Exception):
    """A call would not take an image; the text explains the errno in words.

    Attributes:
        errno: its name, such as `ENOEXEC`, or None if it is not known.
        lasting: whether this machine would refuse any other image too.
    """

    def __init__(self, reason: str, *, errno: str | None = None, lasting: bool = False) -> None:
        super().__init__(reason)
        self.errno = errno
        self.lasting = lasting


class Kexec(Protocol):
    """Takes only what was verified: an unverified kernel does not type-check."""

    async def support(self) -> KexecSupport:
        """Tell which calls may be tried. Nothing is loaded by asking, and it never fails."""

    async def load(
        self, image: VerifiedFile, kernel: Kernel, initrd: Initrd, cmdline: str, method: Method
    ) -> None:
        """Hand an image to the running kernel by one system call.

        Args:
            image: the kernel's file.
            kernel: what is known of it; one that is packed is unpacked.
            initrd: what goes with it.
            cmdline: its command line.
            method: the call.

        Raises:
            LoadRefused: the call, or what it takes to make it, failed.
        """

    async def jump(self) -> None:
        """Start the loaded kernel. Returns only where there is nothing to jump from (dry run).

        Raises:
            KexecRefused: the kernel would not.
        """
