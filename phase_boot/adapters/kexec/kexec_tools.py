"""Loads and starts a kernel with kexec-tools, from sealed memory with verified content.

Its errors are translated into a cause, and whether this kind of machine is at fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from phase_boot.adapters.kexec.probe import NO_LOCKDOWN, lockdown, support
from phase_boot.adapters.system.programs import MAX_OUTPUT
from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel, UnknownKernel
from phase_boot.handoff.unpack import kernel_bytes, verified_bytes
from phase_boot.machine.errors import KexecRefused
from phase_boot.ports.kexec import KexecSupport, LoadRefused, Method
from phase_boot.store.content_store import VerifiedFile

WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.EPERM: "the running kernel forbids it",
        errno.EACCES: "the running kernel forbids it",
        errno.ENODATA: "the kernel is not signed, and this machine asks for a signature",
        errno.ENOKEY: "the kernel is signed with a key that this machine does not know",
        errno.EKEYREJECTED: "the signature of the kernel is not one this machine accepts",
        errno.EBADMSG: "the signature of the kernel cannot be read",
        errno.ELIBBAD: "the signature of the kernel is damaged",
        errno.ENOPKG: "the running kernel cannot check this kind of signature",
        errno.ENOEXEC: "the running kernel does not know this format of kernel",
        errno.EINVAL: "the running kernel takes this image for damaged",
        errno.ENOTSUP: "the running kernel does not know this kind of image",
        errno.ENOSYS: "the running kernel does not have this call",
        errno.EBUSY: "another kernel is being loaded at the moment",
        errno.ENOMEM: "there is not enough memory for it",
        errno.EFBIG: "the image is larger than the running kernel takes",
        errno.EADDRNOTAVAIL: "no free place in memory fits it on this machine",
        errno.ETXTBSY: "another program has the image open for writing",
        errno.EIO: "the image could not be read",
    }
)
LASTING: Final = frozenset({errno.EADDRNOTAVAIL})
"""Errors due to the machine's model, not to the image, a setting or a temporary state."""
_FORBIDDEN: Final = frozenset({errno.EPERM, errno.EACCES})
_SENTENCES: Final[tuple[tuple[str, int], ...]] = (
    # kexec-tools prints these before it calls the kernel.
    ("Cannot determine the file type", errno.ENOEXEC),
    ("Could not find a free area of memory", errno.EADDRNOTAVAIL),
    ("locate_hole failed", errno.EADDRNOTAVAIL),
    ("not available", errno.ENOSYS),
)


def refusal(said: str, *, lockdown: str) -> LoadRefused:
    """Return the refusal for kexec-tools' standard error under this lockdown mode."""
    number = _errno_of(said)
    if number is None:
        return LoadRefused(said[:MAX_OUTPUT] or "kexec failed without a message")
    name = errno.errorcode[number]
    words = WORDS.get(number) or os.strerror(number)
    if number in _FORBIDDEN and lockdown != NO_LOCKDOWN:
        words = f"the running kernel is locked down ({lockdown}) and does not trust the signer"
    return LoadRefused(f"{words} ({name})", errno=name, lasting=number in LASTING)


def _errno_of(said: str) -> int | None:
    """Return the errno of the last `call failed: text`."""
    for text in reversed(re.findall(r"failed: ([A-Z][A-Za-z/' -]+)", said)):
        for number in errno.errorcode:
            if text.startswith(os.strerror(number)):
                return number
    return next((number for words, number in _SENTENCES if words in said), None)


KEXEC: Final = "/usr/sbin/kexec"
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
OPTIONS: Final[Mapping[Method, tuple[str, ...]]] = MappingProxyType(
    {
        Method.FILE: ("--kexec-file-syscall",),
        Method.SEGMENTS: ("--kexec-syscall", "--no-checks"),
    }
)
"""kexec_file_load(2) checks signatures and copies the firmware's tables.

`--no-checks` omits the SHA-256 of kexec-tools' purgatory: it runs with caches off, takes 18 s of
an emulated arm64 boot, and protects only from stray DMA. The arm64 kernel's loader omits it.
"""
ENGLISH: Final[Mapping[str, str]] = MappingProxyType({"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin"})


class KexecTools:
    """Implements `ports.kexec.Kexec` with the program ``program``."""

    def __init__(self, program: str = KEXEC) -> None:
        self._program = program

    async def support(self) -> KexecSupport:
        """Probe the running kernel."""
        return support()

    async def load(
        self, image: VerifiedFile, kernel: Kernel, initrd: Initrd, cmdline: str, method: Method
    ) -> None:
        """Load with one system call, from memory that is hashed while it is filled.

        Hashes of earlier reads prove nothing: a stick may return other bytes each time.
        """
        with contextlib.ExitStack() as opened:
            try:
                initrd_fd = opened.enter_context(_sealed("phase-initrd", initrd.parts()))
                kernel_fd = opened.enter_context(
                    _sealed("phase-kernel", kernel_bytes(image, kernel))
                )
            except (OSError, UnknownKernel) as error:
                raise LoadRefused(f"the images cannot be assembled: {error}") from error
            said = await self._run(
                *OPTIONS[method],
                "--load",
                f"/proc/self/fd/{kernel_fd}",
                f"--initrd=/proc/self/fd/{initrd_fd}",
                f"--command-line={cmdline}",
                descriptors=(kernel_fd, initrd_fd),
            )
        if said is not None:
            raise refusal(said, lockdown=lockdown())

    async def jump(self) -> None:
        """Start the loaded kernel; return only by raising."""
        said = await self._run("--exec", "--no-ifdown")
        raise KexecRefused(f"the jump into the new kernel failed ({said or 'no reason given'})")

    async def _run(self, *arguments: str, descriptors: tuple[int, ...] = ()) -> str | None:
        """Run kexec-tools; return None on success, else its output in one line."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                pass_fds=descriptors,
                env=ENGLISH,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return f"{self._program} cannot be run: {error.strerror}"
        _, said = await process.communicate()
        if process.returncode == 0:
            return None
        text = " ".join(said.decode("utf-8", "replace").split())
        return text[:MAX_OUTPUT] or f"exit status {process.returncode}"


@contextmanager
def _sealed(name: str, parts: Iterable[bytes | VerifiedFile]) -> Iterator[int]:
    """Yield a read-only descriptor of ``parts`` in sealed memory (memfd_create(2)).

    No writable descriptor may be open: the kernel refuses to load such a file.
    """
    draft = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            _append(draft, part)
        fcntl.fcntl(draft, fcntl.F_ADD_SEALS, SEALS)
        final = os.open(f"/proc/self/fd/{draft}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(draft)
    try:
        yield final
    finally:
        os.close(final)


def _append(draft: int, part: bytes | VerifiedFile) -> None:
    for piece in [part] if isinstance(part, bytes) else verified_bytes(part):
        left = memoryview(piece)
        while left:
            left = left[os.write(draft, left) :]
