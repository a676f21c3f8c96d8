"""The machine we run on, and what the person at its boot menu chose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from phase_boot.content.arch import Arch
from policies.model import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known before anything is tried."""

    arch: Arch
    mode: str
    url: str | None
    """A manifest URL from the kernel command line."""
    built: datetime
    """The build date of the seed: no clock is believed that is behind it."""
    stages: tuple[tuple[str, float], ...]
    """What happened before the daemon: name, seconds since kernel start."""
    model: str | None = None
    """Who made this machine and what they call it, if the firmware says."""


class Platform(Protocol):
    """Facts that do not change during a run, and the memory that does."""

    async def facts(self) -> Facts:
        """Return the facts.

        Raises:
            NotConfigured: the kernel command line or the machine is not one we know.
        """

    async def policy(self, mode: str) -> Policy:
        """Return the policy for ``mode``.

        Raises:
            NotConfigured: it cannot be read or refuses itself; the sentence says why.
        """

    def memory_available(self) -> int:
        """Return how many bytes could be used now without swapping."""

    def rss_peak(self) -> int:
        """Return the most bytes of memory this process ever held."""
