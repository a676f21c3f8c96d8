"""Why Linux refuses to load a kernel: the errno in words, and whom it blames."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from phase_boot.adapters.kexec.probe import NO_LOCKDOWN
from phase_boot.ports.kexec import LoadRefused

MAX_SAID: Final = 300
"""Characters kept of what a program says."""

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
        errno.ETXTBSY: "somebody has the image open for writing",
        errno.EIO: "the image could not be read",
    }
)
LASTING: Final = frozenset({errno.EADDRNOTAVAIL})
"""What lies in the model of machine. All else lies in the image, in a setting, or in the moment."""
_FORBIDDEN: Final = frozenset({errno.EPERM, errno.EACCES})
_SENTENCES: Final[tuple[tuple[str, int], ...]] = (
    # kexec-tools says these before it has called the kernel at all.
    ("Cannot determine the file type", errno.ENOEXEC),
    ("Could not find a free area of memory", errno.EADDRNOTAVAIL),
    ("locate_hole failed", errno.EADDRNOTAVAIL),
    ("not available", errno.ENOSYS),
)


def refusal(said: str, *, lockdown: str) -> LoadRefused:
    """Return what kexec-tools wrote to its standard error as a refusal, under this lockdown."""
    number = _errno_of(said)
    if number is None:
        return LoadRefused(said[:MAX_SAID] or "kexec failed without a word")
    name = errno.errorcode[number]
    words = WORDS.get(number) or os.strerror(number)
    if number in _FORBIDDEN and lockdown != NO_LOCKDOWN:
        words = f"the running kernel is locked down ({lockdown}) and trusts nobody who signed it"
    return LoadRefused(f"{words} ({name})", errno=name, lasting=number in LASTING)


def _errno_of(said: str) -> int | None:
    """Return the errno whose text the last `call failed: text` has."""
    for text in reversed(re.findall(r"failed: ([A-Z][A-Za-z/' -]+)", said)):
        for number in errno.errorcode:
            if text.startswith(os.strerror(number)):
                return number
    return next((number for words, number in _SENTENCES if words in said), None)
