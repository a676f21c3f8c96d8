"""Probes which kexec system calls the running kernel supports and permits."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from phase_boot.ports.kexec import KexecSupport, Method

LOCKDOWN: Final = Path("sys/kernel/security/lockdown")
"""systemd mounts securityfs before it starts units."""
NO_LOCKDOWN: Final = "none"
DISABLED: Final = Path("proc/sys/kernel/kexec_load_disabled")
_NUMBERS: Final[Mapping[tuple[str, Method], int]] = MappingProxyType(
    {
        ("x86_64", Method.FILE): 320,
        ("x86_64", Method.SEGMENTS): 246,
        ("aarch64", Method.FILE): 294,
        ("aarch64", Method.SEGMENTS): 104,
    }
)
_NO_FLAGS_AT_ALL: Final = 0xDEAD
"""Undefined flags: the kernel answers EINVAL if the call exists and is permitted."""


def support(root: Path = Path("/"), probe: Callable[[Method], int] | None = None) -> KexecSupport:
    """Return the usable calls, and the obstacle to each other one.

    Args:
        root: where /proc and /sys are.
        probe: returns the errno of an invalid call; None calls the kernel.
    """
    probe = probe or _asked
    found = {method: probe(method) for method in Method}
    there = [method for method in Method if found[method] != errno.ENOSYS]
    if not there:
        return KexecSupport((), ("the running kernel has no kexec",))
    if _read(root / DISABLED).strip() == "1":
        return KexecSupport(
            (), ("kexec is switched off until a restart (kernel.kexec_load_disabled)",)
        )
    reasons = dict(_forbidden(there, found, lockdown(root)))
    return KexecSupport(
        tuple(method for method in there if method not in reasons), tuple(reasons.values())
    )


def _forbidden(
    there: list[Method], found: Mapping[Method, int], locked: str
) -> Iterator[tuple[Method, str]]:
    for method in there:
        if method is Method.SEGMENTS and locked != NO_LOCKDOWN:
            yield method, f"{method}: the running kernel is locked down ({locked})"
        elif found[method] in {errno.EPERM, errno.EACCES}:
            yield method, f"{method}: the running kernel forbids it (EPERM)"


def lockdown(root: Path = Path("/")) -> str:
    """Return `none`, `integrity` or `confidentiality`; `none` for a kernel without lockdown."""
    chosen = re.search(r"\[([a-z]{1,32})\]", _read(root / LOCKDOWN))
    return chosen.group(1) if chosen else NO_LOCKDOWN


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(256).decode("ascii", "replace")
    except OSError:
        return ""


def _asked(method: Method) -> int:
    """Make an invalid call, which never loads anything, and return the errno."""
    number = _NUMBERS.get((os.uname().machine, method))
    if number is None:
        return errno.ENOSYS
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    # The flags are the fifth argument of kexec_file_load and the fourth of kexec_load.
    nonsense = (-1, -1, 0, 0, _NO_FLAGS_AT_ALL)
    if method is Method.SEGMENTS:
        nonsense = (0, 0xFFFF, 0, _NO_FLAGS_AT_ALL, 0)
    call(ctypes.c_long(number), *(ctypes.c_long(value) for value in nonsense))
    return ctypes.get_errno()
