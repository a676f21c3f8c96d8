"""Port of the machine: its hardware, the kernel command line, the policy and the memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from phase_boot.content.arch import Arch
from policies.model import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts that Init reads once."""

    arch: Arch
    mode: str
    url: str | None
    """A manifest URL from the kernel command line."""
    built: datetime
    """The build date of the seed; a clock that is behind it is wrong."""
    stages: tuple[tuple[str, float], ...]
    """The stages of the boot before the daemon: name, and seconds since the kernel started."""
    model: str | None = None
    """Manufacturer and model, if the firmware reports them."""


class Platform(Protocol):
    """Reads the facts, the policy, and the state of the memory."""

    async def facts(self) -> Facts:
        """Return the facts.

        Raises:
            NotConfigured: the kernel command line or the architecture is not supported.
        """

    async def policy(self, mode: str) -> Policy:
        """Return the policy for ``mode``.

        Raises:
            NotConfigured: it cannot be read or is invalid; the text is the reason.
        """

    def memory_available(self) -> int:
        """Return the bytes of memory that are available without swapping."""

    def rss_peak(self) -> int:
        """Return the peak resident memory of this process, in bytes."""
