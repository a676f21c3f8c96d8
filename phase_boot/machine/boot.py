"""What is known about this boot: one immutable record that travels along the graph.

Facts only ever enter it as the types that prove them: a manifest as `Verified`,
which nobody but `phase_boot.trust.verify` can build, and artifacts as `VerifiedFile`,
which nobody but `phase_boot.store.content_store` can build.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from phase_boot.handoff.kernel import Kernel
from phase_boot.machine.boot_methods import BootMethods
from phase_boot.machine.deferral import Queue
from phase_boot.machine.errors import NotConfigured
from phase_boot.machine.retries import Retries, Retry
from phase_boot.ports.finder import Candidate
from phase_boot.ports.network import Link
from phase_boot.ports.platform import Facts
from phase_boot.ports.storage import OpenStore
from phase_boot.store.content_store import VerifiedFile
from phase_boot.trust.chain import Chain
from phase_boot.trust.rollback import RollbackState
from phase_boot.trust.verify import Verified
from policies.model import Policy

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the machine left its way: for the Shell, and for a person."""

    name: str
    sentence: str
    retry: Retry = Retry.LATE
    """How it may pass."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that failed: its manifest's URL, and the reason in one sentence."""

    url: str
    reason: str

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The verified artifacts, each with its open descriptor."""

    kernel: VerifiedFile
    initramfs: VerifiedFile
    rootfs: VerifiedFile
    uki: VerifiedFile | None = None
    """The signed image that the firmware starts by itself, where it may be needed."""

    def close(self) -> None:
        """Give the descriptors back; the record cannot be used to boot afterwards."""
        for image in (self.kernel, self.initramfs, self.rootfs, self.uki):
            if image is not None:
                image.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class BootContext:
    """The facts of one boot, so far."""

    facts: Facts | None = None
    policy: Policy | None = None
    now: datetime | None = None
    """The one time of this attempt (SPEC "Signature first, dates second")."""
    reckoned: float = 0.0
    """When `now` was that time, in seconds of `Clock.monotonic`: a retry adds what has passed."""
    link: Link | None = None
    """The interface that the latest candidate is reached through, as far as is known."""
    reach: frozenset[tuple[str, str]] = frozenset()
    """What the usable links led to when a state last looked (`ports.network.reach_of`)."""
    reach_since: float | None = None
    """When they last led somewhere new, in seconds of the event loop."""
    restarts: int = 0
    """How often a window has begun again because they did."""
    store: OpenStore | None = None
    chain: Chain | None = None
    """Whom to trust: it only ever gets longer, over retries too."""
    seen: RollbackState = field(default_factory=RollbackState)
    """The highest versions that are known to be published."""
    typed_url: str | None = None
    candidate: Candidate | None = None
    rejected_urls: frozenset[str] = frozenset()
    """Manifest URLs that are not asked again in this boot."""
    unreachable: frozenset[str] = frozenset()
    """Those of them that did not answer; they are asked again when the network grows."""
    banned_origins: frozenset[str] = frozenset()
    """Origins (RFC 6454) that sent other bytes than were signed; nothing is asked of them again."""
    deferred: Queue = ()
    """Candidates that failed in a way that may pass, and when each is asked again."""
    portal: str | None = None
    """What the network did when it answered instead of whom we asked."""
    refusals: tuple[Refused, ...] = ()
    """Each candidate that failed, oldest first."""
    manifest: Verified | None = None
    images: Images | None = None
    kernel: Kernel | None = None
    """What the kernel among the images is."""
    boot_methods: BootMethods | None = None
    """Which ways to start it are left."""
    sources: tuple[tuple[str, str], ...] = ()
    """Which artifact came from where."""
    failure: Failure | None = field(default=None)
    unattended: bool = True
    """Whether this machine may try again by itself, if its policy says so too."""
    retries: Retries = field(default_factory=Retries)
    """What automatic retries have learnt."""


def require(fact: T | None, name: str) -> T:
    """Return ``fact``, which an earlier state must have found out.

    Raises:
        NotConfigured: it did not: a plugin led here without it.
    """
    if fact is None:
        raise NotConfigured(f"a state was reached without {name}; retry, or remove plugins")
    return fact
