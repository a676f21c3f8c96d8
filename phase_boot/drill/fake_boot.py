"""Fakes of kexec and of the boot loader, which read images through the verifying reader.

Their fields keep the bytes that they loaded; the invariants compare them with the signed ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel, UnknownKernel
from phase_boot.handoff.unpack import verified_bytes
from phase_boot.machine.errors import CannotChainload, KexecRefused
from phase_boot.ports.kexec import KexecSupport, LoadRefused, Method
from phase_boot.ports.loader import BootPayload, StagingSupport
from phase_boot.store.content_store import VerifiedFile


@dataclass
class FakeKexec:
    """Implements `ports.kexec.Kexec`; keeps the bytes that it loads."""

    supported: KexecSupport = field(default_factory=lambda: KexecSupport(methods=tuple(Method)))
    refusals: dict[Method, LoadRefused] = field(default_factory=dict)
    """The error that each method raises instead of loading."""
    jump_refusals: list[str] = field(default_factory=list)
    tried: list[Method] = field(default_factory=list)
    kernel: bytes | None = None
    initrd: bytes | None = None
    cmdline: str | None = None
    jumped: bool = False

    def refuse(self, reason: str, *, errno: str = "EPERM", lasting: bool = False) -> None:
        """Make every method fail with this error."""
        self.refusals = {
            method: LoadRefused(reason, errno=errno, lasting=lasting) for method in Method
        }

    async def support(self) -> KexecSupport:
        return self.supported

    async def load(
        self, image: VerifiedFile, kernel: Kernel, initrd: Initrd, cmdline: str, method: Method
    ) -> None:
        assert kernel.by_kexec
        self.tried.append(method)
        if method in self.refusals:
            raise self.refusals[method]
        try:
            self.kernel, self.initrd = _bytes_of(image), _joined(initrd)
        except UnknownKernel as error:
            raise LoadRefused(f"the images cannot be assembled: {error}") from error
        self.cmdline = cmdline

    async def jump(self) -> None:
        if self.kernel is None:
            raise KexecRefused("there is no kernel to jump into")
        if self.jump_refusals:
            raise KexecRefused(self.jump_refusals.pop())
        self.jumped = True


@dataclass
class FakeLoader:
    """Implements `ports.loader.Loader`; keeps what was staged and whether the machine restarted."""

    support: StagingSupport = field(default_factory=StagingSupport)
    refusal: str | None = None
    """The error that staging raises."""
    payload: BootPayload | None = None
    kernel: bytes | None = None
    initrd: bytes | None = None
    leftovers: int = 0
    """Number of files that an earlier boot left."""
    unstage_refusal: str | None = None
    """The error that removing them raises."""
    unstaged: int = 0
    restarted: bool = False

    async def staging_support(self) -> StagingSupport:
        return self.support

    async def stage(self, payload: BootPayload) -> str:
        if self.refusal is not None:
            raise CannotChainload(self.refusal)
        try:
            self.kernel = _bytes_of(payload.image)
            self.initrd = _joined(payload.initrd) if payload.initrd else None
        except UnknownKernel as error:
            raise CannotChainload(f"nothing was staged: {error}") from error
        self.payload = payload
        return "phase-staged-0.conf"

    async def restart(self) -> None:
        if self.payload is None:
            raise CannotChainload("nothing is staged")
        self.restarted = True

    async def unstage(self) -> int:
        self.unstaged += 1
        if self.unstage_refusal is not None:
            raise CannotChainload(self.unstage_refusal)
        removed, self.leftovers = self.leftovers, 0
        return removed


def _bytes_of(image: VerifiedFile) -> bytes:
    return b"".join(verified_bytes(image))


def _joined(initrd: Initrd) -> bytes:
    return b"".join(p if isinstance(p, bytes) else _bytes_of(p) for p in initrd.parts())
