"""Port of kexec: loads a kernel and jumps into it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Protocol

from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel
from phase_boot.store.content_store import VerifiedFile


@unique
class Method(StrEnum):
    """The two system calls that load a kernel, the preferred first."""

    FILE = "kexec_file_load"
    SEGMENTS = "kexec_load"


@dataclass(frozen=True, slots=True)
class KexecSupport:
    """What the running kernel supports and permits.

    Attributes:
        methods: the calls that are supported and permitted, the preferred first.
        forbidden: one sentence for each call that is supported and not permitted.
    """

    methods: tuple[Method, ...]
    forbidden: tuple[str, ...] = ()


class LoadRefused(Exception):
    """A system call refused an image; the text explains the errno in words.

    Attributes:
        errno: name of the error, such as `ENOEXEC`; None if unknown.
        lasting: whether this machine refuses any other image too.
    """

    def __init__(self, reason: str, *, errno: str | None = None, lasting: bool = False) -> None:
        super().__init__(reason)
        self.errno = errno
        self.lasting = lasting


class Kexec(Protocol):
    """Loads verified images only: an unverified kernel does not type-check."""

    async def support(self) -> KexecSupport:
        """Return which calls may be tried. It loads nothing and never fails."""

    async def load(
        self, image: VerifiedFile, kernel: Kernel, initrd: Initrd, cmdline: str, method: Method
    ) -> None:
        """Load an image into the running kernel by one system call.

        Args:
            image: the kernel's file.
            kernel: the kernel's format; a compressed one is decompressed.
            initrd: the initramfs with the hand-over document.
            cmdline: the kernel's command line.
            method: the system call.

        Raises:
            LoadRefused: the call or its preparation failed.
        """

    async def jump(self) -> None:
        """Start the loaded kernel. Returns only in a dry run, which jumps nowhere.

        Raises:
            KexecRefused: the running kernel refused to jump.
        """
