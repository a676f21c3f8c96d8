"""Configures interfaces in the seed through systemd-networkd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from phase_boot.adapters.net.address_watch import AddressWatch
from phase_boot.ports.network import Setup, SetupFailed

FOLDER: Final = Path("/run/systemd/network")
"""Takes precedence over the image's files, and is lost at power-off."""
RESTART: Final = ("systemctl", "restart", "systemd-networkd.service")
"""Restart, because `networkctl reload` needs D-Bus, which the seed does not have."""
PREFIX: Final = "01-phase-"
"""Sorts before the image's files for each mode, so it repeats their privacy settings."""
VLAN_LINK: Final = "phase-vlan"
RANDOM: Final = "IPv6LinkLocalAddressGenerationMode=random"
CONDITIONS: Final = {
    "": "KernelCommandLine=!phase.mode=private",
    "-private": "KernelCommandLine=phase.mode=private\nProperty=PHASE_ADDRESS=drawn",
}
"""File name suffixes with their match conditions. In Private a manual configuration, too, applies
only to an interface with a random hardware address (private-address.sh sets the property)."""
FAR: Final = """[DHCPv4]
Anonymize=yes
UseTimezone=no
RouteMetric=100

[DHCPv6]
DUIDType=link-layer
IAID=1
SendHostname=no
UseHostname=no"""
"""Sends nothing that identifies this machine, in any mode."""
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
"""As in Local: an address, but no route beyond its network."""
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
        """Replace networkd's files by those for ``setup``, and restart it."""
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
            raise SetupFailed(f"networkd did not restart within {SECONDS:g} seconds") from error
        if status != 0:
            raise SetupFailed(
                "networkd refuses it; `journalctl -u systemd-networkd` has the reason"
            )

    def _write(self, wanted: Mapping[str, str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob(f"{PREFIX}*"):
            old.unlink()
        for name, text in wanted.items():
            path = self._folder / name
            path.write_text(text, encoding="ascii")
            # networkd reads them as an unprivileged user.
            path.chmod(0o644)


def files(setup: Setup, *, lan_only: bool) -> dict[str, str]:
    """Return networkd's files for ``setup`` by name."""
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
