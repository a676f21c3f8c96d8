"""The networkd files that a set-up by a person writes."""

from __future__ import annotations

from configparser import ConfigParser
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from phase_boot.adapters.net.address_watch import AddressWatch
from phase_boot.adapters.net.networkd import Networkd, files
from phase_boot.ports.network import Setup, SetupFailed

STATIC = Setup(
    interface="eth0",
    addresses=(ip_interface("10.0.0.9/24"), ip_interface("fd00::9/64")),
    gateways=(ip_address("10.0.0.1"), ip_address("fe80::1")),
    dns=(ip_address("10.0.0.1"),),
)
DHCP = Setup(interface="eth0")


def read(text: str) -> dict[str, list[str]]:
    """Return the lines of each section, repeated sections joined."""
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line:
            lines.append(line)
    return sections


def test_a_static_address_disables_dhcp() -> None:
    wanted = files(STATIC, lan_only=False)
    assert set(wanted) == {"01-phase-link.network", "01-phase-link-private.network"}
    network = read(wanted["01-phase-link.network"])
    assert network["Match"] == ["Name=eth0", "KernelCommandLine=!phase.mode=private"]
    assert {
        "DHCP=no",
        "IPv6AcceptRA=no",
        "Address=10.0.0.9/24",
        "Address=fd00::9/64",
        "Gateway=10.0.0.1",
        "Gateway=fe80::1",
        "DNS=10.0.0.1",
        "LLMNR=no",
        "MulticastDNS=no",
    } <= set(network["Network"])


def test_dhcp_sends_nothing_that_identifies_the_machine() -> None:
    network = read(files(DHCP, lan_only=False)["01-phase-link.network"])
    assert {"DHCP=yes", "IPv6AcceptRA=yes"} <= set(network["Network"])
    assert "Anonymize=yes" in network["DHCPv4"]
    assert "SendHostname=no" in network["DHCPv6"]
    assert "UseGateway=no" not in network["DHCPv4"]


@pytest.mark.parametrize("setup", [STATIC, DHCP], ids=["static", "dhcp"])
def test_local_mode_configures_no_route_beyond_the_lan(setup: Setup) -> None:
    network = read(files(setup, lan_only=True)["01-phase-link.network"])
    assert not any(line.startswith(("Gateway=", "DNS=")) for line in network["Network"])
    assert {"UseGateway=no", "UseRoutes=no", "UseDNS=no"} <= set(network["DHCPv4"])
    assert {"UseDNS=no"} <= set(network["DHCPv6"])
    assert {"UseGateway=no", "UseDNS=no"} <= set(network["IPv6AcceptRA"])


def test_a_vlan_gets_the_addresses_and_its_trunk_none() -> None:
    setup = Setup(interface="eth0", addresses=STATIC.addresses, vlan=7)
    wanted = files(setup, lan_only=False)
    assert read(wanted["01-phase-vlan.netdev"]) == {
        "NetDev": ["Name=phase-vlan", "Kind=vlan"],
        "VLAN": ["Id=7"],
    }
    trunk = read(wanted["01-phase-trunk.network"])
    assert trunk["Match"][0] == "Name=eth0"
    assert "VLAN=phase-vlan" in trunk["Network"]
    assert not any(line.startswith("Address=") for line in trunk["Network"])
    assert read(wanted["01-phase-link.network"])["Match"][0] == "Name=phase-vlan"


@pytest.mark.parametrize("setup", [STATIC, DHCP, Setup(interface="eth0", vlan=7)], ids=str)
def test_in_private_a_set_up_brings_up_an_interface_with_a_drawn_address_only(setup: Setup) -> None:
    wanted = files(setup, lan_only=False)
    for name, text in wanted.items():
        if name.endswith(".network"):
            match = read(text)["Match"]
            elsewhere = "KernelCommandLine=!phase.mode=private" in match
            assert elsewhere or "Property=PHASE_ADDRESS=drawn" in match, name


async def test_a_set_up_replaces_the_previous_one_and_reloads_networkd(tmp_path: Path) -> None:
    mark = tmp_path / "restarted"
    network = Networkd(folder=tmp_path / "network", restart=("touch", str(mark)))
    await network.configure(Setup(interface="eth0", vlan=7), lan_only=False)
    await network.configure(STATIC, lan_only=False)
    names = sorted(path.name for path in (tmp_path / "network").iterdir())
    assert names == ["01-phase-link-private.network", "01-phase-link.network"]
    assert (tmp_path / "network/01-phase-link.network").stat().st_mode & 0o777 == 0o644
    assert mark.exists()


@pytest.mark.parametrize(
    ("restart", "reason"),
    [(("false",), "networkd refuses it"), (("no-such-program",), "cannot be run")],
)
async def test_a_networkd_that_does_not_respond_is_reported(
    restart: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(SetupFailed, match=reason):
        await Networkd(folder=tmp_path, restart=restart).configure(DHCP, lan_only=False)


async def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupFailed, match="cannot be written"):
        await Networkd(folder=tmp_path / "file/x").configure(DHCP, lan_only=False)


async def test_on_a_desktop_nothing_is_set_up() -> None:
    with pytest.raises(SetupFailed, match="belongs to this machine"):
        await AddressWatch().configure(DHCP, lan_only=False)
    assert "lo" not in AddressWatch().interfaces()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"interface": "eth0\n[Match]"}, "is no name of a network interface"),
        ({"interface": "*"}, "is no name of a network interface"),
        ({"interface": "e" * 16}, "is no name of a network interface"),
        ({"vlan": 0}, "a VLAN has a number"),
        ({"vlan": 4095}, "a VLAN has a number"),
        ({"addresses": (ip_interface("10.0.0.9/24"),) * 5}, "more than 4 addresses"),
        ({"dns": (ip_address("10.0.0.1"),) * 4}, "more than 3 name servers"),
        ({"addresses": (ip_interface("0.0.0.0/0"),)}, "no address of one machine"),
        ({"addresses": (ip_interface("127.0.0.1/8"),)}, "no address of one machine"),
        ({"addresses": (ip_interface("ff02::1/64"),)}, "no address of one machine"),
        ({"dns": (ip_address("fe80::1%\n[Network]"),)}, "without its %interface"),
        ({"addresses": (ip_interface("fe80::1%\nx=y/64"),)}, "without its %interface"),
        ({"gateways": (ip_address("10.0.0.1"),)}, "in no network of the addresses"),
        (
            {
                "addresses": (ip_interface("10.0.0.9/24"),),
                "gateways": (ip_address("10.0.0.9"),),
            },
            "this machine's own address",
        ),
        (
            {
                "addresses": (ip_interface("10.0.0.9/24"),),
                "gateways": (ip_address("10.0.0.1"), ip_address("10.0.0.2")),
            },
            "two gateways",
        ),
    ],
)
def test_a_set_up_with_invalid_or_injected_values_is_refused(
    fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Setup(**{"interface": "eth0"} | fields)  # type: ignore[arg-type] # whatever the table says


def test_the_written_files_parse_as_ini() -> None:
    for text in files(Setup(interface="eth0", vlan=9), lan_only=False).values():
        parser = ConfigParser(strict=False)
        parser.read_string(text)
        assert parser.sections()
