"""Events of the network: links, the checks of mode Private, finders, candidates and redirects."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event
from phase_boot.ports.network import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp(Event):
    """A link has an address."""

    event = "link.up"
    interface: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    vlan: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMissing(Event):
    """No link got an address in time; the boot continues from Cache."""

    event = "link.missing"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRefused(Event):
    """This machine keeps an interface down, because it would identify it in mode Private.

    `way_out` says what a person can do.
    """

    event = "link.refused"
    deduplicated = True
    interface: str
    reason: str
    way_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyChecked(Event):
    """All settings of mode Private were read back and hold.

    `interfaces` are up with a random MAC address, `identifiers` are those that DHCP sent, and
    `variables` counts the compared firmware variables.
    """

    event = "privacy.checked"
    interfaces: tuple[str, ...]
    identifiers: tuple[str, ...]
    variables: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSet(Event):
    """A link was configured from the menu; without addresses it uses DHCP."""

    event = "network.set"
    interface: str
    addresses: tuple[str, ...]
    vlan: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNotSet(Event):
    """The network configuration from the menu could not be applied."""

    event = "network.not_set"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryFailed(Event):
    """A finder of manifests failed; the other finders continue."""

    event = "finder.failed"
    deduplicated = True
    finder: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyIgnored(Event):
    """A finder ignored the reply of another machine; emitted once for each reason and search."""

    event = "reply.ignored"
    deduplicated = True
    finder: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFound(Event):
    """An untrusted announcement of a manifest at `url`."""

    event = "candidate.found"
    url: str
    finder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRefused(Event):
    """A manifest could not be downloaded or was not accepted.

    `code` is that of a refusal (docs/refusals.md), `unreachable` or `portal`.
    """

    event = "candidate.refused"
    url: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateDeferred(Event):
    """The server of a candidate failed temporarily; it is requested again after `seconds`."""

    event = "candidate.deferred"
    url: str
    reason: str
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRedirected(Event):
    """The document requested at `url` came from another host, by a redirect to `target`."""

    event = "document.redirected"
    url: str
    target: str


def link_up(link: Link) -> LinkUp:
    """Return the event of a usable link."""
    return LinkUp(
        interface=link.interface,
        addresses=link.addresses,
        gateways=link.gateways,
        dns=link.dns,
        vlan=link.vlan,
    )
