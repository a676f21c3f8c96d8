"""Evidence for Private mode in memory; every promise is met unless a scenario changes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from phase_boot.ports.privacy import Configuration, Evidence, Interface, Unreadable

DRAWN: Final = "0a:5c:11:22:33:44"
BURNED_IN: Final = "52:54:00:77:00:01"
GOOD: Final = Interface(
    name="eth0",
    address=DRAWN,
    permanent=BURNED_IN,
    drawn=DRAWN,
    assigned=True,
    up=True,
    generation=3,
    addresses=("fe80::85c:11ff:fe22:3344",),
)
KEPT: Final = Interface(
    name="eth1",
    address="52:54:00:77:00:02",
    permanent="52:54:00:77:00:02",
    refused="the driver refuses another one: Operation not supported",
)
"""An interface that stays down because its driver refuses a random address."""
ANONYMOUS: Final = Configuration(
    interface="eth0",
    settings=(
        ("Network.LLMNR", "no"),
        ("Network.MulticastDNS", "no"),
        ("Network.DHCP", "yes"),
        ("Network.IPv6AcceptRA", "yes"),
        ("Network.IPv6LinkLocalAddressGenerationMode", "random"),
        ("DHCPv4.Anonymize", "yes"),
        ("DHCPv6.DUIDType", "link-layer"),
        ("DHCPv6.IAID", "1"),
        ("DHCPv6.SendHostname", "no"),
    ),
    client=f"01{DRAWN.replace(':', '')}",
    unique=f"DUID-LL:0001{DRAWN.replace(':', '')}",
    association=1,
)
SOUND: Final = Evidence(
    interfaces=(GOOD,),
    configurations=(ANONYMOUS,),
    host_name="phase-seed",
    shipped_name="phase-seed",
)


@dataclass
class FakePrivacy:
    """Implements `ports.privacy.Privacy`."""

    found: Evidence = SOUND
    later: list[Evidence] = field(default_factory=list)
    """The evidence of the second and later readings, in order; the last one stays."""
    routed: tuple[str, ...] = ()
    """Interfaces with a route beyond their own networks."""
    begun: bool = False
    readings: int = 0

    async def begin(self) -> None:
        self.begun = True

    async def evidence(self) -> Evidence:
        if not self.begun:
            raise Unreadable("no variables were remembered")
        self.readings += 1
        if self.readings > 1 and self.later:
            self.found = self.later.pop(0)
        return self.found

    async def routes(self) -> tuple[str, ...]:
        return self.routed
