"""SourceUrls on a network of their own, each on a cable that carries so much and no more.

A place is a network namespace behind a port of the lab's bridge. What leaves it is held to a rate
by tbf; what comes to it is not.
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
from typing import Final

from image.lab.network import BRIDGE, Lab, LabError

FIRST: Final = 10
"""The last number of the first place's address."""
PORT: Final = 80
PATIENCE: Final = 20.0
_HOLD: Final = 'read -r host rest < /proc/self/stat; echo "$host $$"; exec sleep infinity'


class Host:
    """One end of a cable: `address`, and what runs there."""

    def __init__(self, lab: Lab, number: int, *, megabits: int | None = None) -> None:
        """Lay the cable; without `megabits` it carries whatever the machine can."""
        self.address = f"10.77.0.{FIRST + number}"
        self.folder = lab.folder / f"place-{number}"
        self.folder.mkdir()
        self._lab = lab
        self._port = f"place{number}"
        holder = lab.popen(["unshare", "--net", "sh", "-c", _HOLD], stdout=subprocess.PIPE)
        if holder.stdout is None:
            raise LabError("A place cannot be made: nothing holds it.")
        with holder.stdout as stream:
            host, inside = stream.readline().decode().split()
        self._enter = ("nsenter", f"--net=/proc/{host}/ns/net", "--")
        cable = f"""set -e
        ip link add {self._port} type veth peer name eth0 netns {inside}
        ip link set {self._port} master {BRIDGE} up
        """
        near = f"""set -e
        ip link set lo up
        ip link set eth0 up
        ip addr add {self.address}/24 dev eth0
        """
        lab.run(["sh", "-c", cable])
        self.run(["sh", "-c", near])
        if megabits is not None:
            held = f"tc qdisc add dev eth0 root tbf rate {megabits}mbit burst 256kb latency 100ms"
            self.run(held.split())

    @staticmethod
    def base_of(number: int) -> str:
        """The URL that a web server at the place of that number would have."""
        return f"http://10.77.0.{FIRST + number}:{PORT}"

    @property
    def base(self) -> str:
        """The URL of the web server that runs there."""
        return f"http://{self.address}:{PORT}"

    def command(self, argv: Sequence[str]) -> list[str]:
        """The argument list that runs `argv` there, from inside the lab."""
        return [*self._enter, *argv]

    def run(self, argv: Sequence[str], *, timeout: float = 30.0) -> str:
        """Run `argv` there to its end and return what it said."""
        return self._lab.run(self.command(argv), timeout=timeout)

    def start(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `argv` there; what it says goes to a file."""
        with (self.folder / "output").open("ab") as out:
            return self._lab.popen(self.command(argv), stdout=out, stderr=out, env=env)

    def sent(self) -> int:
        """How many bytes have left this place so far, headers included."""
        (link,) = json.loads(self.run(["ip", "-s", "-j", "link", "show", "dev", "eth0"]))
        return int(link["stats64"]["tx"]["bytes"])

    def nginx(self, site: Path) -> subprocess.Popen[bytes]:
        """Serve `site` as plain files."""
        configuration = self.folder / "nginx.conf"
        configuration.write_text(_nginx(self.folder, site.absolute()))
        log = self.folder / "nginx.log"
        process = self.start(
            ["nginx", "-p", str(self.folder), "-c", str(configuration), "-e", str(log)]
        )
        self.wait()
        return process

    def stalling(self, after: int) -> subprocess.Popen[bytes]:
        """Answer every request with `after` bytes of what was asked, and then with nothing."""
        process = self.start([sys.executable, "-I", "-c", _STALLS, str(PORT), str(after)])
        self.wait()
        return process

    def silent(self) -> subprocess.Popen[bytes]:
        """Accept connections and answer none."""
        process = self.start([sys.executable, "-I", "-c", _SILENT, str(PORT)])
        self.wait()
        return process

    def wait(self, port: int = PORT) -> None:
        """Return as soon as somebody listens there.

        Raises LabError, with what was said there, if nobody does.
        """
        connect = f"import socket; socket.create_connection(('{self.address}', {port}), 1).close()"
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            with suppress(LabError):
                self._lab.run([sys.executable, "-I", "-c", connect])
                return
            time.sleep(0.05)
        said = (self.folder / "output").read_text(errors="replace").strip()
        raise LabError(f"Nobody listens at {self.address}:{port}: {said}")


_STALLS: Final = textwrap.dedent(
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
"""A server whose cable was pulled in the middle, as seen by who asked it."""


_SILENT: Final = textwrap.dedent(
    """\
    import socket, sys
    server, held = socket.create_server(("", int(sys.argv[1]))), []
    while True:
        held.append(server.accept())
    """
)


def _nginx(folder: Path, site: Path) -> str:
    temporary = "\n    ".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return textwrap.dedent(f"""\
        daemon off;
        master_process off;
        user root root;
        pid {folder}/nginx.pid;
        error_log {folder}/nginx.log;
        events {{ worker_connections 512; }}
        http {{
            access_log off;
            {temporary}
            sendfile on;
            tcp_nopush on;
            keepalive_requests 100000;
            server {{ listen {PORT}; root {site}; }}
        }}
        """)
