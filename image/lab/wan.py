"""What lies behind a lab's router: a network namespace with one address of the Internet.

The lab itself is the router. The way has a rate, by tbf, and a delay and losses, by a relay that
every kernel can run. A machine in the lab reaches ADDRESS by its default route, and by the names
that the lab's name server has for it.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from image.lab.network import BRIDGE, IPV4, Lab, LabError

ADDRESS: Final = "203.0.113.10"
"""From TEST-NET-3 (RFC 5737): nobody's, and not of the lab's own network."""
_ROUTER: Final = "203.0.113.1"
_PATIENCE: Final = 10.0
_FINISH: Final = (
    "import sys; from image.lab.tap_relay import finish_frames; finish_frames(sys.argv[1])"
)
"""A relay gets frames as they are on a wire: whole, and none larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WanLink:
    """How far and how broad the way is; `loss` in frames of a hundred, each way."""

    megabits: int = 40
    milliseconds: int = 20
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an HTTPS server shows, its secret, and who vouches for it: files in PEM."""

    chain: Path
    key: Path
    authority: Path


class WanNetwork:
    """The network beyond the router of `lab`; it ends with the lab."""

    def __init__(self, lab: Lab, way: WanLink | None = None) -> None:
        self._lab = lab
        self._way = way or WanLink()
        self._number, self._inside = self._hold()
        self._lay()

    def command(self, argv: Sequence[str]) -> list[str]:
        """The argument list that runs `argv` beyond, from inside the lab."""
        return ["nsenter", f"--net=/proc/{self._number}/ns/net", "--", *argv]

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `argv` beyond."""
        return self._lab.popen(self.command(argv), stdout=stdout, stderr=stderr)

    def mirror(self, site: Path, name: str, certificate: Certificate) -> Path:
        """Serve `site` as https://`name`/ by nginx, and return the log of what was asked of it.

        Raises LabError with nginx's own words when it does not answer.
        """
        folder = self._lab.folder / "mirror"
        folder.mkdir()
        (folder / "nginx.conf").write_text(_nginx(folder, site.absolute(), name, certificate))
        said = folder / "nginx.log"
        argv = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(said)]
        with (folder / "output").open("wb") as out:
            process = self.popen(argv, stdout=out, stderr=out)
        give_up = time.monotonic() + _PATIENCE
        while not self._listens(443):
            if process.poll() is not None or time.monotonic() > give_up:
                words = " ".join(
                    (folder / each).read_text(errors="replace").strip()
                    for each in ("nginx.log", "output")
                    if (folder / each).exists()
                )
                raise LabError(f"nginx does not serve; install nginx-light. It said: {words}")
            time.sleep(0.05)
        return folder / "access.log"

    def open(self, *, is_open: bool) -> None:
        """Let the router forward, or not: what is sent beyond is then lost without a word."""
        self._lab.run(["sh", "-c", f"echo {int(is_open)} > /proc/sys/net/ipv4/ip_forward"])

    def _listens(self, port: int) -> bool:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1).close()"
        try:
            self._lab.run(self.command([sys.executable, "-I", "-c", connect]))
        except LabError:
            return False
        return True

    def _hold(self) -> tuple[str, str]:
        """Make the namespace; return a process of it as the host and as the lab count it."""
        # /proc is the host's, so that is the number by which others find the namespace there.
        says = 'read -r host rest < /proc/self/stat; echo "$host $$"; exec sleep infinity'
        holder = self._lab.popen(["unshare", "--net", "sh", "-c", says], stdout=subprocess.PIPE)
        if holder.stdout is None:
            raise LabError("The network beyond cannot be made: nothing holds it.")
        with holder.stdout as stream:
            told = stream.readline().decode().split()
        if len(told) != 2:  # noqa: PLR2004
            raise LabError("The network beyond cannot be made: `unshare --net` failed in the lab.")
        return told[0], told[1]

    def _lay(self) -> None:
        near = f"""set -e
        ip link add wan0 type veth peer name wan1
        ip link add far1 type veth peer name far0
        ip link set far0 netns {self._inside}
        for port in wan0 wan1 far1; do
            echo 1 > /proc/sys/net/ipv6/conf/$port/disable_ipv6
            ip link set $port up
        done
        ip addr add {_ROUTER}/24 dev wan0
        echo 1 > /proc/sys/net/ipv4/ip_forward
        """
        far = f"""set -e
        ip link set lo up
        ip link set far0 up
        ip addr add {ADDRESS}/24 dev far0
        ip route add default via {_ROUTER}
        tc qdisc add dev far0 root tbf rate {self._way.megabits}mbit burst 64kb latency 200ms
        """
        python = [sys.executable, "-I"]
        way = [str(self._way.milliseconds), str(self._way.loss)]
        try:
            self._lab.run(["sh", "-c", near])
            self._lab.run(self.command(["sh", "-c", far]))
            self._lab.run([*python, "-c", _FINISH, "wan0"])
            self._lab.run(self.command([*python, "-c", _FINISH, "far0"]))
        except LabError as error:
            raise LabError(f"The network beyond cannot be made: {error}") from error
        self._lab.popen([*python, "-m", "image.lab.netem", "wan1", "far1", *way])


def name_server(lab: Lab, names: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Answer for `names` (`#` is every name) at the lab's address, and return when it does.

    Raises LabError with dnsmasq's own words when it does not.
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
    give_up = time.monotonic() + _PATIENCE
    while "started" not in (said := log.read_text(errors="replace")):
        if server.poll() is not None or time.monotonic() > give_up:
            raise LabError(f"dnsmasq does not answer for names at {IPV4}: {said.strip()}")
        time.sleep(0.02)
    return server


def _nginx(folder: Path, site: Path, name: str, certificate: Certificate) -> str:
    # One process, of the one user that a user namespace has.
    return textwrap.dedent(f"""\
        daemon off;
        master_process off;
        user root root;
        pid {folder}/nginx.pid;
        error_log {folder}/nginx.log;
        events {{ worker_connections 64; }}
        http {{
            access_log {folder}/access.log;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            sendfile on;
            server {{
                listen 443 ssl;
                listen 80;
                server_name {name};
                ssl_certificate {certificate.chain};
                ssl_certificate_key {certificate.key};
                root {site};
            }}
        }}
        """)
