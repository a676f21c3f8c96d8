"""Translates kexec-tools' errors into a cause, and whether this kind of machine is at fault."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from phase_boot.adapters.kexec.probe import NO_LOCKDOWN
from phase_boot.adapters.system.programs import MAX_OUTPUT
from phase_boot.ports.kexec import LoadRefused

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
