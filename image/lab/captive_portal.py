"""A captive portal on a lab's router: it intercepts all traffic until a login form is posted.

Before the login it answers every DNS query with its own address, redirects every HTTP request to
its form, presents its own certificate to every HTTPS client, and forwards nothing. After the login
it answers DNS correctly and forwards. `CaptivePortal(lab, ...)` starts this module as a program.
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

from image.lab.certificates import Certificate
from image.lab.namespace import LabError
from image.lab.network import IPV4, Lab

NAME: Final = "portal.phase.example"
FORM: Final = "/login"
AGREED: Final = b"agree=yes"
_READY: Final = "portal ready"
_IP_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")
_PAGE: Final = (
    b"<html><title>Welcome</title><form method=post action=/login>"
    b"<input type=hidden name=agree value=yes><button>I agree</button></form></html>"
)
_START_SECONDS: Final = 10.0
_MAX_FORM_BYTES: Final = 1000
_LOG_IN: Final = (
    "import sys, urllib.request as u;"
    "form = u.Request(sys.argv[1], data=sys.argv[3].encode(), headers={'Host': sys.argv[2]});"
    "print(u.urlopen(form, timeout=10).status)"
)


class CaptivePortal:
    """The portal of `lab`, with the real addresses of `names`; it ends with the lab.

    Raises:
        LabError: the portal does not start; the message holds its output.
    """

    def __init__(self, lab: Lab, names: Mapping[str, str], certificate: Certificate) -> None:
        self._lab = lab
        self.log = lab.folder / "portal.log"
        addresses = [f"{name}={address}" for name, address in names.items()]
        files = [str(certificate.chain), str(certificate.key)]
        argv = [sys.executable, "-I", "-m", "image.lab.captive_portal", *files, *addresses]
        with self.log.open("wb") as out:
            process = lab.popen(argv, stdout=out, stderr=out)
        deadline = time.monotonic() + _START_SECONDS
        while _READY not in (output := self.log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"The captive portal did not start: {output.strip()}")
            time.sleep(0.05)

    def log_in(self) -> None:
        """Post the form, as a user's other device on this network does."""
        url = f"http://{IPV4}{FORM}"
        self._lab.run([sys.executable, "-I", "-c", _LOG_IN, url, NAME, AGREED.decode()])


class _LoginState:
    """Whether the form was posted; at first it was not."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._logged_in = False
        _IP_FORWARD.write_text("0")

    def log_in(self) -> None:
        self._logged_in = True
        _IP_FORWARD.write_text("1")

    def address_of(self, name: str) -> str | None:
        if not self._logged_in or name == NAME:
            return IPV4
        return self._names.get(name)


class _DnsHandler(socketserver.BaseRequestHandler):
    """Answers a DNS query with the address that the login state gives."""

    state: _LoginState

    def handle(self) -> None:
        query, port = self.request
        labels, at = [], 12
        while at < len(query) and query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
            at += 1 + query[at]
        question = query[12 : at + 5]
        address = self.state.address_of(".".join(labels).lower())
        # Only A records exist; a query for another type gets an empty answer.
        found = address is not None and question[-4:-2] == b"\0\1"
        status = b"\x81\x80" if address else b"\x81\x83"
        counts = bytes([0, 1, 0, found, 0, 0, 0, 0])
        answer = query[:2] + status + counts + question
        if found and address is not None:
            answer += b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4" + socket.inet_aton(address)
        port.sendto(answer, self.client_address)


class _HttpHandler(BaseHTTPRequestHandler):
    """Redirects every request to the form, and accepts the form."""

    state: _LoginState

    def do_GET(self) -> None:
        if self.headers.get("Host") != NAME:
            self._respond(302, b"", Location=f"http://{NAME}{FORM}?from={self.path}")
        else:
            self._respond(200, _PAGE)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", "0")), _MAX_FORM_BYTES)
        if self.path != FORM or self.rfile.read(length) != AGREED:
            self._respond(403, _PAGE)
            return
        self.state.log_in()
        self._respond(200, b"Welcome.")

    def _respond(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "text/html"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(chain: str, key: str, *names: str) -> None:
    """Run the portal until the lab ends."""
    state = _LoginState(dict(name.split("=", 1) for name in names))
    _DnsHandler.state = _HttpHandler.state = state
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    https = ThreadingHTTPServer((IPV4, 443), _HttpHandler)
    # The handshake runs in the connection's own thread: a silent client would block all others.
    https.socket = context.wrap_socket(
        https.socket, server_side=True, do_handshake_on_connect=False
    )
    servers = (
        socketserver.ThreadingUDPServer((IPV4, 53), _DnsHandler),
        ThreadingHTTPServer((IPV4, 80), _HttpHandler),
        https,
    )
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
    print(_READY, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
