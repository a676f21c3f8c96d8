"""A captive portal at a lab's router: it answers for everybody until a form is posted.

Until then it lies about every name, sends every HTTP request to its form, shows its own
certificate to every HTTPS client, and forwards nothing. Then it tells the truth and forwards.
`CaptivePortal(lab, …)` starts it; run as a program it is the portal itself, in the lab.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from image.lab.network import IPV4, Lab, LabError
from image.lab.wan import Certificate

NAME: Final = "portal.phase.example"
FORM: Final = "/login"
AGREED: Final = b"agree=yes"
_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")
_PAGE: Final = (
    b"<html><title>Welcome</title><form method=post action=/login>"
    b"<input type=hidden name=agree value=yes><button>I agree</button></form></html>"
)
_PATIENCE: Final = 10.0
_SIGN_IN: Final = (
    "import sys, urllib.request as u;"
    "form = u.Request(sys.argv[1], data=sys.argv[3].encode(), headers={'Host': sys.argv[2]});"
    "print(u.urlopen(form, timeout=10).status)"
)


class CaptivePortal:
    """The portal of `lab`, which knows the true addresses of `names`; it ends with the lab."""

    def __init__(self, lab: Lab, names: Mapping[str, str], certificate: Certificate) -> None:
        self._lab = lab
        self.log = lab.folder / "portal.log"
        true = [f"{name}={address}" for name, address in names.items()]
        files = [str(certificate.chain), str(certificate.key)]
        argv = [sys.executable, "-I", "-m", "image.lab.captive_portal", *files, *true]
        with self.log.open("wb") as out:
            process = lab.popen(argv, stdout=out, stderr=out)
        give_up = time.monotonic() + _PATIENCE
        while "open for business" not in (said := self.log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > give_up:
                raise LabError(f"The portal does not serve: {said.strip()}")
            time.sleep(0.05)

    def sign_in(self) -> None:
        """Post the form, as a person with another device on this network does."""
        url = f"http://{IPV4}{FORM}"
        words = [sys.executable, "-I", "-c", _SIGN_IN, url, NAME, AGREED.decode()]
        self._lab.run(words)


class _LoginState:
    """Whether somebody has signed in; closed at first."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._open = False
        _FORWARD.write_text("0")

    def open(self) -> None:
        self._open = True
        _FORWARD.write_text("1")

    def address_of(self, name: str) -> str | None:
        if not self._open or name == NAME:
            return IPV4
        return self._names.get(name)


class _Names(socketserver.BaseRequestHandler):
    """Answers for a name: nobody but the gate says what is true."""

    gate: _LoginState

    def handle(self) -> None:
        question, port = self.request
        labels, at = [], 12
        while at < len(question) and question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode("ascii", "replace"))
            at += 1 + question[at]
        asked = question[12 : at + 5]
        address = self.gate.address_of(".".join(labels).lower())
        # A record is an IPv4 address alone; for other kinds the answer is that there is none.
        found = address is not None and asked[-4:-2] == b"\0\1"
        status = b"\x81\x80" if address else b"\x81\x83"
        counts = bytes([0, 1, 0, found, 0, 0, 0, 0])
        answer = question[:2] + status + counts + asked
        if found and address is not None:
            answer += b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4" + socket.inet_aton(address)
        port.sendto(answer, self.client_address)


class _Web(BaseHTTPRequestHandler):
    """Sends everybody to the form, and takes it."""

    gate: _LoginState

    def do_GET(self) -> None:
        if self.headers.get("Host") != NAME:
            self._say(302, b"", Location=f"http://{NAME}{FORM}?from={self.path}")
        else:
            self._say(200, _PAGE)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", "0")), 1000)
        if self.path != FORM or self.rfile.read(length) != AGREED:
            self._say(403, _PAGE)
            return
        self.gate.open()
        self._say(200, b"Welcome.")

    def _say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "text/html"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(chain: str, key: str, *names: str) -> None:
    """Be the portal, until the lab ends."""
    gate = _LoginState(dict(name.split("=", 1) for name in names))
    _Names.gate = _Web.gate = gate
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(chain, key)
    secure = ThreadingHTTPServer((IPV4, 443), _Web)
    # The handshake happens in the client's own thread, or one that says nothing would stop all.
    secure.socket = shown.wrap_socket(
        secure.socket, server_side=True, do_handshake_on_connect=False
    )
    servers = (
        socketserver.ThreadingUDPServer((IPV4, 53), _Names),
        ThreadingHTTPServer((IPV4, 80), _Web),
        secure,
    )
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
    print("open for business", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
