"""The Internet as a lab's machines see it: a server behind a router, over a slow link.

The lab is the router. `tbf` limits the link's rate; `image.lab.netem`, which needs no kernel
module, adds latency and loss. A machine in the lab reaches ADDRESS by its default route, and by the
names for which the lab's DNS server has that address.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.lab.certificates import Certificate
from image.lab.namespace import LabError
from image.lab.netns import Netns
from image.lab.network import BRIDGE, IPV4, Lab
from image.lab.nginx import LOG, RECORD_LOCATION, nginx_command

ADDRESS: Final = "203.0.113.10"
"""The server's address, from TEST-NET-3 (RFC 5737), which the Internet does not use."""
_ROUTER: Final = "203.0.113.1"
_START_SECONDS: Final = 10.0
_FINISH_FRAMES: Final = (
    "import sys; from image.lab.tap_relay import finish_frames; finish_frames(sys.argv[1])"
)
"""netem reads frames as a cable carries them: with checksums, and no larger than the MTU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WanLink:
    """Properties of the WAN link.

    Attributes:
        megabits: the rate per second from the server to the machine; the other way is not limited.
        milliseconds: the latency in each direction.
        loss_percent: frames lost in each direction.
    """

    megabits: int = 40
    milliseconds: int = 20
    loss_percent: float = 0.0


class WanNetwork(Netns):
    """The network behind the router of `lab`; it ends with the lab."""

    def __init__(self, lab: Lab, link: WanLink | None = None) -> None:
        super().__init__(lab)
        self._link = link or WanLink()
        self._connect()

    def start_mirror(self, site: Path, name: str, certificate: Certificate) -> Path:
        """Serve the folder `site` as https://`name`/ by nginx, and return its access log.

        Raises:
            LabError: nginx does not start; the message holds its output.
        """
        folder = self._lab.folder / "mirror"
        folder.mkdir()
        access_log = folder / "access.log"
        argv = nginx_command(
            folder,
            f"""\
            access_log {access_log};
            sendfile on;
            server {{
                listen 443 ssl;
                listen 80;
                server_name {name};
                ssl_certificate {certificate.chain};
                ssl_certificate_key {certificate.key};
                root {site.absolute()};
                {" ".join(RECORD_LOCATION.split())}
            }}
            """,
        )
        with (folder / "output").open("wb") as out:
            process = self.popen(argv, stdout=out, stderr=out)
        deadline = time.monotonic() + _START_SECONDS
        while not self.listens("127.0.0.1", 443):
            if process.poll() is not None or time.monotonic() > deadline:
                output = " ".join(
                    (folder / each).read_text(errors="replace").strip()
                    for each in (LOG, "output")
                    if (folder / each).exists()
                )
                raise LabError(f"nginx did not start; install nginx-light. Its output: {output}")
            time.sleep(0.05)
        return access_log

    def set_forwarding(self, *, enabled: bool) -> None:
        """Let the router forward packets, or drop them silently."""
        self._lab.run(["sh", "-c", f"echo {int(enabled)} > /proc/sys/net/ipv4/ip_forward"])

    def _connect(self) -> None:
        """Connect the router to the server: wan0 - wan1, netem, far1 - far0."""
        router = f"""set -e
        ip link add wan0 type veth peer name wan1
        ip link add far1 type veth peer name far0
        ip link set far0 netns {self.pid}
        for port in wan0 wan1 far1; do
            echo 1 > /proc/sys/net/ipv6/conf/$port/disable_ipv6
            ip link set $port up
        done
        ip addr add {_ROUTER}/24 dev wan0
        echo 1 > /proc/sys/net/ipv4/ip_forward
        """
        server = f"""set -e
        ip link set lo up
        ip link set far0 up
        ip addr add {ADDRESS}/24 dev far0
        ip route add default via {_ROUTER}
        tc qdisc add dev far0 root tbf rate {self._link.megabits}mbit burst 64kb latency 200ms
        """
        python = [sys.executable, "-I"]
        try:
            self._lab.run(["sh", "-c", router])
            self.run(["sh", "-c", server])
            self._lab.run([*python, "-c", _FINISH_FRAMES, "wan0"])
            self.run([*python, "-c", _FINISH_FRAMES, "far0"])
        except LabError as error:
            raise LabError(f"The WAN cannot be created: {error}") from error
        impairment = [str(self._link.milliseconds), str(self._link.loss_percent)]
        self._lab.popen([*python, "-m", "image.lab.netem", "wan1", "far1", *impairment])


def start_name_server(lab: Lab, names: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Serve DNS for `names` (`#` is every name) at the lab's address, and return when it runs.

    Raises:
        LabError: dnsmasq does not start; the message holds its output.
    """
    log = lab.folder / "names.log"
    argv = [
        "dnsmasq",
        "--no-daemon",
        "--conf-file=/dev/null",
        "--pid-file=",
        f"--interface={BRIDGE}",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        "--log-facility=-",
        *(f"--address=/{name}/{address}" for name, address in names.items()),
    ]
    with log.open("wb") as out:
        server = lab.popen(argv, stdout=out, stderr=out)
    deadline = time.monotonic() + _START_SECONDS
    while "started" not in (output := log.read_text(errors="replace")):
        if server.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"dnsmasq does not serve DNS at {IPV4}: {output.strip()}")
        time.sleep(0.02)
    return server
