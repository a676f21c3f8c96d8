"""What the journal says of links and of finders, beside `events`."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event
from phase_boot.journal.events import LinkUp
from phase_boot.ports.network import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderIgnored(Event):
    """A finder passed over some of what it was told; once per reason and search."""

    event = "finder.ignored"
    lasting = True
    origin: str
    reason: str


def link_up(link: Link) -> LinkUp:
    """Return the event of a link that can be used."""
    return LinkUp(
        interface=link.interface,
        addresses=link.addresses,
        gateways=link.gateways,
        dns=link.dns,
        vlan=link.vlan,
    )
