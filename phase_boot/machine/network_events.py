"""What the journal says of links, beside `events`."""

from __future__ import annotations

from phase_boot.machine.events import LinkUp
from phase_boot.ports.network import Link


def link_up(link: Link) -> LinkUp:
    """Return the event of a link that can be used."""
    return LinkUp(
        interface=link.interface,
        addresses=link.addresses,
        gateways=link.gateways,
        dns=link.dns,
        vlan=link.vlan,
    )
