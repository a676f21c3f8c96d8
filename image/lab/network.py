"""A private network for virtual machines: bridge, addresses, DHCP and router advertisements.

A lab is a network namespace with its own process namespace. Process 1 of it reads a pipe that
this process holds: when the pipe closes, for whatever reason, it ends everything that ran in the
lab and removes the lab's folder. So nothing is left behind after an exception, after Ctrl-C, or
after a kill -9.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

BRIDGE: Final = "br0"
IPV4: Final = "10.77.0.1"
IPV6: Final = "fd77:b007::1"
POOL4: Final = "10.77.0.50,10.77.0.199,255.255.255.0,1h"
POOL6: Final = "fd77:b007::1000,fd77:b007::1fff,64,1h"
ONLY_ROUTER6: Final = "fd77:b007::,ra-only,64"
"""Addresses come from router advertisements alone (SLAAC, RFC 4862)."""

_NAME_SERVER: Final = (
    f"--dhcp-option=option:dns-server,{IPV4}",
    f"--dhcp-option=option6:dns-server,[{IPV6}]",
)
# Fixed, or the bridge would take the address of whichever port joined last, under its neighbours.
_BRIDGE_MAC: Final = "52:54:00:77:ff:01"
_UNSHARE: Final = ("unshare", "--net", "--pid", "--fork", "--kill-child")
_USER_NAMESPACE: Final = ("--user", "--map-root-user")
_HOLD: Final = 'read -r pid rest < /proc/self/stat; echo "$pid"; cat; kill -KILL -1; rm -rf -- "$1"'
_FETCH: Final = (
    "import sys, urllib.request as u;"
    "sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=float(sys.argv[2])).read())"
)


class LabError(RuntimeError):
    """The lab cannot be made or used here; the sentence says what is missing."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One place on the lab's bridge for a virtual machine.

    `netdev` is the value of QEMU's option `-netdev`, with the id `net0`.
    """

    mac: str
    port: str
    netdev: str


UNCOMPILED: Final = "PYTHONDONTWRITEBYTECODE"
"""With it Python compiles a program anew each time it starts; installed programs are compiled."""


def environment() -> dict[str, str]:
    """This process's environment; PATH reaches the system's tools, as a user's may not."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    kept = {name: value for name, value in os.environ.items() if name != UNCOMPILED}
    return {**kept, "PATH": path}


class Lab:
    """`with Lab() as lab:` makes the network; leaving the block ends every process in it.

    Two labs never see each other: the names and addresses in them are the same. `folder` is a
    place for what lives as long as the lab. With `names` machines are told to ask the lab for
    addresses of names (see `image.lab.wan.name_server`). Without `taps` the cables are relays even
    where /dev/net/tun opens. Without `ipv4` there is no address of that family, and IPv6 addresses
    come by router advertisements alone.
    """

    def __init__(
        self, *, dhcp: bool = True, taps: bool = True, names: bool = False, ipv4: bool = True
    ) -> None:
        self.folder = Path()
        self.ipv4 = ipv4
        self._dhcp = dhcp
        self._names = names
        self._taps = taps
        self._holder: subprocess.Popen[str] | None = None
        self._enter: tuple[str, ...] = ()
        self._nics = 0
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="phase-lab-"))
        try:
            self._hold()
            self._lay_network()
            if self._dhcp:
                self._serve_addresses()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the lab and remove its folder. Safe to call twice."""
        if self._holder is not None:
            try:
                self._holder.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self._holder.kill()
                self._holder.communicate()
            self._holder = None
        self._enter = ()
        for child in self._children:
            child.wait()
        self._children.clear()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()

    # -- running things ------------------------------------------------------------------------

    def command(self, argv: Sequence[str]) -> list[str]:
        """The argument list that runs `argv` inside the lab from outside."""
        if not self._enter:
            raise LabError("The lab is closed; use it inside its `with` block.")
        return [*self._enter, "setpriv", "--pdeathsig", "TERM", "--", *argv]

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `argv` in the lab. Ending the returned process ends the program with SIGTERM.

        That holds once the program itself runs; what is ended before outlives it up to `close`.
        """
        child = subprocess.Popen(
            self.command(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**environment(), **(env or {})},
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def run(self, argv: Sequence[str], *, timeout: float = 30.0) -> str:
        """Run `argv` in the lab to its end and return its standard output.

        Raises LabError with the program's own words if it fails or takes longer than `timeout`
        seconds.
        """
        try:
            done = subprocess.run(
                self.command(argv),
                check=False,
                capture_output=True,
                text=True,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                env=environment(),
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(f"`{' '.join(argv)}` did not end within {timeout:g} s.") from late
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"`{' '.join(argv)}` ended with {done.returncode}: {said}")
        return done.stdout

    def fetch(self, url: str, *, timeout: float = 10.0) -> bytes:
        """The body behind `url`, asked for from the lab's own address."""
        done = subprocess.run(
            self.command([sys.executable, "-I", "-c", _FETCH, url, str(timeout)]),
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise LabError(f"{url} did not answer: {last}")
        return done.stdout

    # -- the network ---------------------------------------------------------------------------

    def nic(self) -> Nic:
        """Plug one more cable into the bridge: a tap, or where /dev/net/tun is closed a relay."""
        number = self._nics
        self._nics += 1
        mac = f"52:54:00:77:00:{number:02x}"
        if self._taps and self._may_tap():
            return self._tap(number, mac)
        return self._relayed(number, mac)

    def leases(self) -> dict[str, str]:
        """IPv4 address by MAC address, as the lab's DHCP server has given them out."""
        try:
            lines = (self.folder / "leases").read_text().splitlines()
        except FileNotFoundError:
            return {}
        rows = [line.split() for line in lines]
        return {row[1]: row[2] for row in rows if len(row) >= 4 and "." in row[2]}  # noqa: PLR2004

    def _hold(self) -> None:
        refused: list[str] = []
        for user in ((), _USER_NAMESPACE) if os.geteuid() == 0 else (_USER_NAMESPACE,):
            holder = subprocess.Popen(
                [*_UNSHARE, *user, "sh", "-c", _HOLD, "lab", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment(),
                start_new_session=True,
            )
            self._holder = holder
            first = next(iter(holder.stdout or ()), "").strip()
            if first.isdigit():
                credentials = ("--user", "--preserve-credentials") if user else ()
                self._enter = ("nsenter", "--target", first, *credentials, "--net", "--pid", "--")
                return
            refused.append(first)
            self.close()
            self.folder = Path(tempfile.mkdtemp(prefix="phase-lab-"))
        raise LabError(_why_no_namespace(refused[-1]))

    def _lay_network(self) -> None:
        # The bridge needs one port that is always up: without a carrier its addresses stay
        # tentative, and a provider that starts before the first machine could not bind to them.
        # Ports have no address of their own: a provider would announce each as one more machine.
        # Snooping is off because nobody in the lab asks for memberships; mDNS must reach all.
        ipv4 = f"""ip addr add {IPV4}/24 brd + dev {BRIDGE}
        ip link set {BRIDGE} up
        ip route add 224.0.0.0/4 dev {BRIDGE}
        """
        # Nor does any interface take an address from the advertisements that machines are sent.
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
            raise LabError(_why_no_network(str(error))) from error

    def _serve_addresses(self) -> None:
        # Not a daemon: dnsmasq then keeps its user, for in a user namespace it has only one.
        log = self.folder / "dnsmasq.log"
        argv = [
            "dnsmasq",
            "--no-daemon",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--port=0",
            f"--interface={BRIDGE}",
            "--bind-interfaces",
            "--no-ping",
            "--dhcp-authoritative",
            *((f"--dhcp-range={POOL4}", f"--dhcp-range={POOL6}") if self.ipv4 else ()),
            *(() if self.ipv4 else (f"--dhcp-range={ONLY_ROUTER6}",)),
            *(_NAME_SERVER if self._names else ()),
            "--enable-ra",
            f"--dhcp-leasefile={self.folder / 'leases'}",
            "--log-facility=-",
        ]
        with log.open("wb") as out:
            server = self.popen(argv, stdout=out, stderr=out)
        serves = "DHCP, IP range" if self.ipv4 else "router advertisement on"
        give_up = time.monotonic() + 10
        while serves not in (said := log.read_text(errors="replace")):
            if server.poll() is not None or time.monotonic() > give_up:
                raise LabError(
                    f"dnsmasq does not serve; install dnsmasq-base. It said: {said.strip()}"
                )
            time.sleep(0.02)

    def _may_tap(self) -> bool:
        try:
            self.run(["sh", "-c", "exec 3<>/dev/net/tun"])
        except LabError:
            return False
        return True

    def _tap(self, number: int, mac: str) -> Nic:
        port = f"tap{number}"
        self.run(["ip", "tuntap", "add", "mode", "tap", "name", port])
        self.run(["ip", "link", "set", port, "master", BRIDGE, "addrgenmode", "none", "up"])
        return Nic(mac, port, f"tap,id=net0,ifname={port},script=no,downscript=no")

    def _relayed(self, number: int, mac: str) -> Nic:
        port, far = f"cable{number}", f"relay{number}"
        self.run(["ip", "link", "add", port, "type", "veth", "peer", "name", far])
        self.run(["ip", "link", "set", port, "master", BRIDGE, "addrgenmode", "none", "up"])
        self.run(["ip", "link", "set", far, "addrgenmode", "none", "up"])
        ours, theirs = self.folder / f"{far}.lab", self.folder / f"{far}.vm"
        relay = Path(__file__).with_name("tap_relay.py")
        self.popen([sys.executable, "-I", str(relay), port, far, str(ours), str(theirs)])
        give_up = time.monotonic() + 10
        while not ours.exists():
            if time.monotonic() > give_up:
                raise LabError(f"The relay {relay} did not start.")
            time.sleep(0.02)
        netdev = (
            f"dgram,id=net0,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}"
        )
        return Nic(mac, port, netdev)


def _why_no_namespace(said: str) -> str:
    return (
        f"This user cannot make a network namespace ({said or 'unshare said nothing'}). "
        "Run as root, or allow user namespaces: on Ubuntu `sysctl -w "
        "kernel.apparmor_restrict_unprivileged_userns=0`, elsewhere "
        "`sysctl -w user.max_user_namespaces=10000`."
    )


def _why_no_network(said: str) -> str:
    return (
        f"The lab's bridge cannot be made: {said} Install iproute2, and see that the kernel has "
        "`bridge` and `veth`; where a policy takes the rights away inside user namespaces "
        "(Ubuntu's kernel.apparmor_restrict_unprivileged_userns), run as root."
    )
