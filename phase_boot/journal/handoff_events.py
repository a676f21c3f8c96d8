"""Events of the hand-off: the kernel, kexec, and the image that is staged for the firmware."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInspected(Event):
    """The verified kernel, the `first` boot method, and the `reason` if it is not kexec."""

    event = "kernel.inspected"
    format: str
    arch: str
    packing: str | None
    version: str | None
    first: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecFailed(Event):
    """A system call refused the image; `errno` is the name and `reason` the text of its error."""

    event = "kexec.failed"
    method: str
    errno: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecLoaded(Event):
    """The running kernel has loaded the new one."""

    event = "kexec.loaded"
    method: str
    cmdline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecJump(Event):
    """The last line before the jump; `rss_peak` is the daemon's, in bytes."""

    event = "kexec.jump"
    version: str
    rss_peak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStaged(Event):
    """The boot loader starts the image once at the restart; the last line before it."""

    event = "loader.staged"
    version: str
    entry: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderCleared(Event):
    """`files` that an earlier boot staged were removed from the stick."""

    event = "loader.cleared"
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderNotCleared(Event):
    """Files that an earlier boot staged are still on the stick."""

    event = "loader.not_cleared"
    deduplicated = True
    reason: str
