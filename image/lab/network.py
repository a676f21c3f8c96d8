"""A private network for virtual machines: a bridge, IPv4 and IPv6 addresses, DHCP and DNS.

The bridge, its addresses and its servers are inside a namespace of their own, so two labs on one
host never share a network, although all labs use the same names and addresses.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.lab.namespace import LabError, Namespace

BRIDGE: Final = "br0"
IPV4: Final = "10.77.0.1"
IPV6: Final = "fd77:b007::1"
DHCP4_RANGE: Final = "10.77.0.50,10.77.0.199,255.255.255.0,1h"
DHCP6_RANGE: Final = "fd77:b007::1000,fd77:b007::1fff,64,1h"
SLAAC_PREFIX: Final = "fd77:b007::,ra-only,64"
"""Clients form their addresses from router advertisements alone (SLAAC, RFC 4862)."""

_DNS_OPTIONS: Final = (
    f"--dhcp-option=option:dns-server,{IPV4}",
    f"--dhcp-option=option6:dns-server,[{IPV6}]",
)
# Without a fixed address the bridge takes over the address of the port that joined last, and the
# neighbour caches of all machines become stale.
_BRIDGE_MAC: Final = "52:54:00:77:ff:01"
_START_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Nic:
    """A port of the bridge, for one virtual machine.

    Attributes:
        mac: the hardware address that the guest's network card gets.
        port: the interface on the bridge.
        netdev: the value of QEMU's option `-netdev`, with the id `net0`.
    """

    mac: str
    port: str
    netdev: str


class Lab(Namespace):
    """`with Lab() as lab:` creates the network; the end of the block ends every process in it.

    Args:
        dhcp: serve addresses by DHCP and router advertisements.
        taps: connect QEMU by tap devices where /dev/net/tun opens; otherwise by relays.
        dns: announce the lab as DNS server (`image.lab.wan.start_name_server` starts one).
        ipv4: give the bridge an IPv4 address; without, IPv6 addresses come by SLAAC alone.
    """

    def __init__(
        self, *, dhcp: bool = True, taps: bool = True, dns: bool = False, ipv4: bool = True
    ) -> None:
        super().__init__()
        self.ipv4 = ipv4
        self._dhcp = dhcp
        self._dns = dns
        self._taps = taps
        self._nics = 0

    def open(self) -> None:
        """Create the namespace, the bridge and its DHCP server.

        Raises:
            LabError: the host lacks a right or a program; the message names it.
        """
        super().open()
        try:
            self._create_bridge()
            if self._dhcp:
                self._start_dhcp()
        except BaseException:
            self.close()
            raise

    def add_nic(self) -> Nic:
        """Add a port to the bridge: a tap device, or a relay where /dev/net/tun does not open."""
        number = self._nics
        self._nics += 1
        mac = f"52:54:00:77:00:{number:02x}"
        if self._taps and self._can_open_tun():
            return self._add_tap(number, mac)
        return self._add_relay(number, mac)

    def dhcp_leases(self) -> dict[str, str]:
        """Return the IPv4 addresses that the DHCP server assigned, by MAC address."""
        try:
            lines = (self.folder / "leases").read_text().splitlines()
        except FileNotFoundError:
            return {}
        rows = [line.split() for line in lines]
        return {row[1]: row[2] for row in rows if len(row) >= 4 and "." in row[2]}  # noqa: PLR2004

    def _create_bridge(self) -> None:
        # One port is always up: a bridge without carrier keeps its addresses tentative, and a
        # provider that starts before the first machine could not bind to them.
        # Ports have no IPv6 address: a provider would announce each as one more interface.
        # Multicast snooping is off: no querier runs here, and mDNS must reach every port.
        # No interface accepts the router advertisements that are meant for the machines.
        ipv4 = f"""ip addr add {IPV4}/24 brd + dev {BRIDGE}
        ip link set {BRIDGE} up
        ip route add 224.0.0.0/4 dev {BRIDGE}
        """
        script = f"""set -e
        echo 0 > /proc/sys/net/ipv6/conf/default/accept_ra
        ip link set lo up
        ip link add {BRIDGE} address {_BRIDGE_MAC} type bridge mcast_snooping 0 forward_delay 0
        ip link add carrier0 type veth peer name carrier1
        ip link set carrier0 master {BRIDGE} addrgenmode none
        ip link set carrier1 addrgenmode none
        ip link set carrier1 up
        ip link set carrier0 up
        echo 0 > /proc/sys/net/ipv6/conf/{BRIDGE}/accept_dad
        ip addr add {IPV6}/64 dev {BRIDGE} nodad
        ip link set {BRIDGE} up
        {ipv4 if self.ipv4 else ""}
        """
        try:
            self.run(["sh", "-c", script])
        except LabError as error:
            raise LabError(_bridge_refused(str(error))) from error

    def _start_dhcp(self) -> None:
        log = self.folder / "dnsmasq.log"
        argv = [
            "dnsmasq",
            # As a daemon dnsmasq changes its user; a user namespace has only one.
            "--no-daemon",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--port=0",
            f"--interface={BRIDGE}",
            "--bind-interfaces",
            "--no-ping",
            "--dhcp-authoritative",
            *((f"--dhcp-range={DHCP4_RANGE}", f"--dhcp-range={DHCP6_RANGE}") if self.ipv4 else ()),
            *(() if self.ipv4 else (f"--dhcp-range={SLAAC_PREFIX}",)),
            *(_DNS_OPTIONS if self._dns else ()),
            "--enable-ra",
            f"--dhcp-leasefile={self.folder / 'leases'}",
            "--log-facility=-",
        ]
        with log.open("wb") as out:
            server = self.popen(argv, stdout=out, stderr=out)
        ready = "DHCP, IP range" if self.ipv4 else "router advertisement on"
        deadline = time.monotonic() + _START_SECONDS
        while ready not in (output := log.read_text(errors="replace")):
            if server.poll() is not None or time.monotonic() > deadline:
                raise LabError(
                    f"dnsmasq did not start; install dnsmasq-base. Its output: {output.strip()}"
                )
            time.sleep(0.02)

    def _can_open_tun(self) -> bool:
        try:
            self.run(["sh", "-c", "exec 3<>/dev/net/tun"])
        except LabError:
            return False
        return True

    def _add_tap(self, number: int, mac: str) -> Nic:
        port = f"tap{number}"
        self.run(["ip", "tuntap", "add", "mode", "tap", "name", port])
        self.run(["ip", "link", "set", port, "master", BRIDGE, "addrgenmode", "none", "up"])
        return Nic(mac, port, f"tap,id=net0,ifname={port},script=no,downscript=no")

    def _add_relay(self, number: int, mac: str) -> Nic:
        port, far = f"cable{number}", f"relay{number}"
        self.run(["ip", "link", "add", port, "type", "veth", "peer", "name", far])
        self.run(["ip", "link", "set", port, "master", BRIDGE, "addrgenmode", "none", "up"])
        self.run(["ip", "link", "set", far, "addrgenmode", "none", "up"])
        ours, qemus = self.folder / f"{far}.lab", self.folder / f"{far}.vm"
        relay = Path(__file__).with_name("tap_relay.py")
        self.popen([sys.executable, "-I", str(relay), port, far, str(ours), str(qemus)])
        deadline = time.monotonic() + _START_SECONDS
        while not ours.exists():
            if time.monotonic() > deadline:
                raise LabError(f"The relay {relay} did not start within {_START_SECONDS:g} s.")
            time.sleep(0.02)
        netdev = (
            f"dgram,id=net0,local.type=unix,local.path={qemus},remote.type=unix,remote.path={ours}"
        )
        return Nic(mac, port, netdev)


def _bridge_refused(output: str) -> str:
    return (
        f"The lab's bridge cannot be created: {output} Install iproute2, and check that the kernel "
        "has `bridge` and `veth`; where a policy restricts user namespaces "
        "(Ubuntu's kernel.apparmor_restrict_unprivileged_userns), run as root."
    )
