"""Network namespaces inside a lab: machines without a virtual machine.

A `Netns` is an empty network namespace. A `Host` is one that is connected to the lab's bridge, with
an address of its own and a limited rate: `tbf` shapes what the host sends, and what it receives is
not limited.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from image.lab.namespace import LabError
from image.lab.network import BRIDGE, Lab
from image.lab.nginx import nginx_command

FIRST_HOST: Final = 10
"""The last number of the address of host 0."""
PORT: Final = 80
START_SECONDS: Final = 20.0
# /proc is the host's, so the namespace has to be found there by the host's process id; `ip` wants
# the process id inside the lab.
_HOLD: Final = 'read -r host rest < /proc/self/stat; echo "$host $$"; exec sleep infinity'


class Netns:
    """A network namespace of its own inside `lab`; it ends with the lab.

    Attributes:
        pid: a process in it, by its number inside the lab, as `ip link set netns` takes it.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        holder = lab.popen(["unshare", "--net", "sh", "-c", _HOLD], stdout=subprocess.PIPE)
        if holder.stdout is None:
            raise LabError("A network namespace cannot be created: its process has no output.")
        with holder.stdout as stream:
            match stream.readline().decode().split():
                case [host_pid, pid]:
                    self._enter = ("nsenter", f"--net=/proc/{host_pid}/ns/net", "--")
                    self.pid = pid
                case _:
                    raise LabError("`unshare --net` failed in the lab; run as root.")

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the argument list that runs `argv` here, from inside the lab."""
        return [*self._enter, *argv]

    def run(self, argv: Sequence[str], *, timeout: float = 30.0) -> str:
        """Run `argv` here, wait for its end, and return its output, as `Lab.run`."""
        return self._lab.run(self.command(argv), timeout=timeout)

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `argv` here, as `Lab.popen`."""
        return self._lab.popen(self.command(argv), stdout=stdout, stderr=stderr, env=env)

    def listens(self, address: str, port: int) -> bool:
        """Say whether a TCP connection from here to `address` is accepted."""
        connect = f"import socket; socket.create_connection(('{address}', {port}), 1).close()"
        try:
            self.run([sys.executable, "-I", "-c", connect])
        except LabError:
            return False
        return True


class Host(Netns):
    """A host on the lab's bridge with the address 10.77.0.(FIRST_HOST + `number`).

    Without `megabits` its rate is not limited.
    """

    def __init__(self, lab: Lab, number: int, *, megabits: int | None = None) -> None:
        super().__init__(lab)
        self.address = f"10.77.0.{FIRST_HOST + number}"
        self.folder = lab.folder / f"host-{number}"
        self.folder.mkdir()
        port = f"host{number}"
        cable = f"""set -e
        ip link add {port} type veth peer name eth0 netns {self.pid}
        ip link set {port} master {BRIDGE} up
        """
        own_end = f"""set -e
        ip link set lo up
        ip link set eth0 up
        ip addr add {self.address}/24 dev eth0
        """
        lab.run(["sh", "-c", cable])
        self.run(["sh", "-c", own_end])
        if megabits is not None:
            shaper = f"tc qdisc add dev eth0 root tbf rate {megabits}mbit burst 256kb latency 100ms"
            self.run(shaper.split())

    @staticmethod
    def base_of(number: int) -> str:
        """Return the URL that a web server on host `number` would have."""
        return f"http://10.77.0.{FIRST_HOST + number}:{PORT}"

    @property
    def base(self) -> str:
        """The URL of the web server on this host."""
        return f"http://{self.address}:{PORT}"

    def start(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `argv` here; its output goes to the file `output` in the host's folder."""
        with (self.folder / "output").open("ab") as out:
            return self.popen(argv, stdout=out, stderr=out, env=env)

    def bytes_sent(self) -> int:
        """Return how many bytes this host has sent, headers included."""
        (link,) = json.loads(self.run(["ip", "-s", "-j", "link", "show", "dev", "eth0"]))
        return int(link["stats64"]["tx"]["bytes"])

    def start_nginx(self, site: Path) -> subprocess.Popen[bytes]:
        """Serve the folder `site` as plain files."""
        http = f"""\
            access_log off;
            sendfile on;
            tcp_nopush on;
            keepalive_requests 100000;
            server {{ listen {PORT}; root {site.absolute()}; }}
            """
        process = self.start(nginx_command(self.folder, http))
        self.wait_for_port()
        return process

    def start_stalling_server(self, after: int) -> subprocess.Popen[bytes]:
        """Start a server that sends `after` bytes of each response, and then nothing more."""
        process = self.start([sys.executable, "-I", "-c", _STALLING_SERVER, str(PORT), str(after)])
        self.wait_for_port()
        return process

    def start_silent_server(self) -> subprocess.Popen[bytes]:
        """Start a server that accepts connections and never responds."""
        process = self.start([sys.executable, "-I", "-c", _SILENT_SERVER, str(PORT)])
        self.wait_for_port()
        return process

    def wait_for_port(self, port: int = PORT) -> None:
        """Return as soon as a program listens on `port`.

        Raises:
            LabError: none does within START_SECONDS; the message holds the host's output.
        """
        connect = f"import socket; socket.create_connection(('{self.address}', {port}), 1).close()"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(LabError):
                self._lab.run([sys.executable, "-I", "-c", connect])
                return
            time.sleep(0.05)
        output = (self.folder / "output").read_text(errors="replace").strip()
        raise LabError(f"No program listens on {self.address}:{port}: {output}")


_STALLING_SERVER: Final = textwrap.dedent(
    """\
    import re, socket, sys, threading
    port, after = map(int, sys.argv[1:])
    def answer(connection):
        head = b""
        while b"\\r\\n\\r\\n" not in head:
            piece = connection.recv(4096)
            if not piece:
                return
            head += piece
        asked = re.search(rb"bytes=(\\d+)-(\\d+)", head)
        first, last = map(int, asked.groups()) if asked else (0, 2**30 - 1)
        connection.sendall(b"HTTP/1.1 206 Partial Content\\r\\nContent-Range: bytes %d-%d/*\\r\\n"
            b"Content-Length: %d\\r\\n\\r\\n" % (first, last, last - first + 1))
        connection.sendall(bytes(min(after, last - first)))
        threading.Event().wait()
    server = socket.create_server(("", port))
    while True:
        connection, _ = server.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()
    """
)
"""To a client this looks like a server whose cable was pulled during a response."""


_SILENT_SERVER: Final = textwrap.dedent(
    """\
    import socket, sys
    server, held = socket.create_server(("", int(sys.argv[1]))), []
    while True:
        held.append(server.accept())
    """
)
