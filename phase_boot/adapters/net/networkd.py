"""Setting up a link through systemd-networkd, which the seed runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from phase_boot.adapters.net.address_watch import AddressWatch
from phase_boot.ports.network import Setup, SetupFailed

FOLDER: Final = Path("/run/systemd/network")
"""Before the files in the image; gone when the machine is switched off."""
RESTART: Final = ("systemctl", "restart", "systemd-networkd.service")
"""The seed has no D-Bus, by which `networkctl reload` would ask."""
PREFIX: Final = "01-phase-"
"""Before what the image brings for each mode; so what a mode forbids is said here once more."""
VLAN_LINK: Final = "phase-vlan"
RANDOM: Final = "IPv6LinkLocalAddressGenerationMode=random"
CONDITIONS: Final = {
    "": "KernelCommandLine=!phase.mode=private",
    "-private": "KernelCommandLine=phase.mode=private\nProperty=PHASE_ADDRESS=drawn",
}
"""A file for each, by what its name gets: in Private a person's set-up, too, brings up only an
interface whose hardware address was drawn (private-address.sh sets the property)."""
FAR: Final = """[DHCPv4]
Anonymize=yes
UseTimezone=no
RouteMetric=100

[DHCPv6]
DUIDType=link-layer
IAID=1
SendHostname=no
UseHostname=no"""
"""Whatever the mode, nothing that would name this machine is sent: as in Private."""
NEAR: Final = f"""{FAR}
UseDNS=no
UseNTP=no

[DHCPv4]
UseGateway=no
UseRoutes=no
UseDNS=no
UseNTP=no

[IPv6AcceptRA]
UseGateway=no
UseRoutePrefix=no
UseDNS=no"""
"""As in Local: an address, and no way beyond the network that it is in."""
SECONDS: Final = 30.0


class Networkd(AddressWatch):
    """Implements `ports.network.Network` in the seed."""

    def __init__(
        self,
        *,
        folder: Path = FOLDER,
        restart: tuple[str, ...] = RESTART,
        permitted: Callable[[str], bool] = lambda _: True,
    ) -> None:
        super().__init__(permitted=permitted)
        self._folder = folder
        self._restart = restart

    async def configure(self, setup: Setup, *, lan_only: bool) -> None:
        """Write networkd's files for ``setup`` in place of those before, and start it anew."""
        try:
            self._write(files(setup, lan_only=lan_only))
        except OSError as error:
            raise SetupFailed(f"{self._folder} cannot be written: {error.strerror}") from error
        try:
            async with asyncio.timeout(SECONDS):
                process = await asyncio.create_subprocess_exec(*self._restart)
                status = await process.wait()
        except OSError as error:
            reason = f"{self._restart[0]} cannot be run: {error.strerror}"
            raise SetupFailed(reason) from error
        except TimeoutError as error:
            raise SetupFailed(f"networkd did not come back in {SECONDS:g} seconds") from error
        if status != 0:
            raise SetupFailed("networkd did not take it; the journal of systemd says why")

    def _write(self, wanted: Mapping[str, str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob(f"{PREFIX}*"):
            old.unlink()
        for name, text in wanted.items():
            path = self._folder / name
            path.write_text(text, encoding="ascii")
            # networkd reads as a user of its own.
            path.chmod(0o644)


def files(setup: Setup, *, lan_only: bool) -> dict[str, str]:
    """Return networkd's files for ``setup`` by their names."""
    wanted = _addressing(setup, lan_only=lan_only)
    if setup.vlan is None:
        return _networks("link", setup.interface, wanted)
    netdev = f"[NetDev]\nName={VLAN_LINK}\nKind=vlan\n\n[VLAN]\nId={setup.vlan}\n"
    trunk = f"VLAN={VLAN_LINK}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    return {
        f"{PREFIX}vlan.netdev": netdev,
        **_networks("trunk", setup.interface, trunk),
        **_networks("link", VLAN_LINK, wanted),
    }


def _networks(name: str, link: str, wanted: str) -> dict[str, str]:
    return {
        f"{PREFIX}{name}{suffix}.network": (
            f"[Match]\nName={link}\n{condition}\n\n[Link]\nRequiredForOnline=no\n\n"
            f"[Network]\nLLMNR=no\nMulticastDNS=no\n{wanted}"
        )
        for suffix, condition in CONDITIONS.items()
    }


def _addressing(setup: Setup, *, lan_only: bool) -> str:
    if setup.addresses:
        lines = ["DHCP=no", "IPv6AcceptRA=no", *(f"Address={a}" for a in setup.addresses)]
    else:
        lines = ["DHCP=yes", "IPv6AcceptRA=yes"]
    if not lan_only:
        lines += [f"Gateway={gateway}" for gateway in setup.gateways]
        lines += [f"DNS={server}" for server in setup.dns]
    return "\n".join(
        ["LinkLocalAddressing=ipv6", *lines, RANDOM, "", NEAR if lan_only else FAR, ""]
    )
