"""The facts of one boot: an immutable record that each state receives and extends.

Verified facts have types that prove the verification: a manifest is a `Verified`, which only
`phase_boot.trust.verify` makes, and an artifact is a `VerifiedFile`, which only
`phase_boot.store.content_store` makes. So a state cannot start what was not verified.
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
from phase_boot.trust.ipns_record import IpnsRecord
from phase_boot.trust.rollback import RollbackState
from phase_boot.trust.verify import Verified
from policies.model import Policy

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The error that led to the Shell or to another way of starting the image."""

    name: str
    sentence: str
    retry: Retry = Retry.LATE
    """When another attempt is worthwhile."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that failed: its manifest's URL, and the reason in one sentence."""

    url: str
    reason: str

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The verified artifacts, each with an open descriptor."""

    kernel: VerifiedFile
    initramfs: VerifiedFile
    rootfs: VerifiedFile
    uki: VerifiedFile | None = None
    """The signed image for the firmware, where Secure Boot may need it."""

    def close(self) -> None:
        """Close the descriptors; the images cannot be started afterwards."""
        for image in (self.kernel, self.initramfs, self.rootfs, self.uki):
            if image is not None:
                image.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class BootContext:
    """The facts of one boot that are known so far."""

    facts: Facts | None = None
    policy: Policy | None = None
    now: datetime | None = None
    """The time by which all dates of this attempt are judged (SPEC "Signature first, dates
    second")."""
    reckoned: float = 0.0
    """The value of `Clock.monotonic` at `now`: a retry adds the seconds since then."""
    link: Link | None = None
    """The interface over which the latest candidate is reached; None if unknown."""
    links: tuple[Link, ...] = ()
    """All usable links at the latest check: their addresses are this machine's."""
    reach: frozenset[tuple[str, str]] = frozenset()
    """The reach of the usable links at the latest check (`ports.network.reach_of`)."""
    reach_since: float | None = None
    """When the reach last grew, in seconds of the event loop."""
    restarts: int = 0
    """How often a search window has started again because the reach grew."""
    store: OpenStore | None = None
    chain: Chain | None = None
    """The trusted roots; the chain never gets shorter, over retries too."""
    seen: RollbackState = field(default_factory=RollbackState)
    """The highest versions that were seen, below which nothing is accepted."""
    records: tuple[IpnsRecord, ...] = ()
    """The newest IPNS record of each announcing key; an older one is not accepted."""
    dht_peers: tuple[str, ...] = ()
    """Multiaddrs of DHT peers that answered in an earlier boot."""
    typed_url: str | None = None
    candidate: Candidate | None = None
    rejected_urls: frozenset[str] = frozenset()
    """Manifest URLs that are not requested again in this attempt."""
    unreachable: frozenset[str] = frozenset()
    """The rejected URLs that did not respond; they are requested again when the network grows."""
    banned_origins: frozenset[str] = frozenset()
    """Origins (RFC 6454) that sent other bytes than were signed; they get no further request."""
    deferred: Queue = ()
    """Candidates with a temporary failure, and when each is requested again."""
    portal: str | None = None
    """How a captive portal responded in place of the server; None without a portal."""
    refusals: tuple[Refused, ...] = ()
    """The candidates that failed, oldest first."""
    manifest: Verified | None = None
    images: Images | None = None
    kernel: Kernel | None = None
    """The format of the kernel among the images."""
    boot_methods: BootMethods | None = None
    """The methods that are left to start the images."""
    sources: tuple[tuple[str, str], ...] = ()
    """The name of each artifact, with the source that most of it came from."""
    failure: Failure | None = field(default=None)
    unattended: bool = True
    """Whether this machine may retry by itself, if its policy permits it too."""
    retries: Retries = field(default_factory=Retries)
    """The automatic retries so far."""


def require(fact: T | None, name: str) -> T:
    """Return ``fact``, which an earlier state must have set.

    Raises:
        NotConfigured: ``fact`` is None: a plugin skipped the state that sets it.
    """
    if fact is None:
        raise NotConfigured(f"a state was reached without {name}; retry, or remove plugins")
    return fact
