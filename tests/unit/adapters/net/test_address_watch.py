"""Links as Linux reports them: their configuration and their neighbours."""

from __future__ import annotations

from pathlib import Path

import ifaddr
import pytest

from phase_boot.adapters.net.address_watch import AddressWatch, on_link
from phase_boot.machine.errors import NoNetwork

ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
lo\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
lo\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth9\t00000000\t0909090A\t0003\t0\t0\t100\t00000000\t0\t0\t0
"""
ROUTE6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 00000001 00000000 00000003       lo\n"
    "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 00000100 00000001 00000000 00000001       lo\n"
)
VLAN = "lo  VID: 42\t REORDER_HDR: 1  dev->priv_flags: 1021\nDevice: eth0\n"


async def test_a_link_has_its_networks_routers_name_servers_and_vlan(tmp_path: Path) -> None:
    watch = AddressWatch(loopback=True, root=tmp_path)
    name = (await watch.link(1)).interface
    files = {
        "proc/net/route": ROUTE.replace("lo", name),
        "proc/net/ipv6_route": ROUTE6.replace("lo", name),
        f"proc/net/vlan/{name}": VLAN,
        "etc/resolv.conf": "# none\nnameserver 10.0.2.3\nnameserver fe80::1%lo\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    link = await watch.link(1)
    assert all("/" in address for address in link.addresses)
    assert link.gateways == ("10.0.2.1", "fe80::1")
    assert link.dns == ("10.0.2.3", "fe80::1%lo")
    assert link.vlan == 42


async def test_a_link_with_an_address_alone_is_usable(tmp_path: Path) -> None:
    link = await AddressWatch(loopback=True, root=tmp_path).link(1)
    assert link.addresses
    assert (link.gateways, link.dns, link.vlan) == ((), (), None)


async def test_without_any_link_the_interfaces_are_named() -> None:
    with pytest.raises(NoNetwork, match="interface"):
        await Unplugged().link(0)


class Unplugged(AddressWatch):
    """A machine whose interfaces have no address."""

    def _usable(self, address: object) -> bool:
        return address is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "fe80::1", "169.254.3.4"])
def test_an_address_of_an_own_network_is_near(host: str) -> None:
    assert on_link(host)


def test_every_neighbour_of_our_own_addresses_is_near() -> None:
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            assert on_link(ip.ip if isinstance(ip.ip, str) else ip.ip[0])


@pytest.mark.parametrize(
    "host",
    ["", "name.local", "224.0.0.251", "ff02::fb", "0.0.0.0", "::", "203.0.113.7", "1"],  # noqa: S104 - nothing is bound
)
def test_an_address_behind_a_router_is_not_near(host: str) -> None:
    assert not on_link(host)
