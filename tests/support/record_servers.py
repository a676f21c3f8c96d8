"""Servers of IPNS records on loopback: a delegated router, kubo's RPC API, and bad ones."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from phase_boot.store.layout import RECORD_TYPE

ROUTING: Final = "/routing/v1/ipns/"
KUBO: Final = "/api/v0/routing/"
PEERS: Final = "/api/v0/swarm/peers"


class Handler(BaseHTTPRequestHandler):
    """Takes and gives records by the paths of a router, a gateway and kubo's RPC API."""

    protocol_version = "HTTP/1.1"
    server: RecordServer

    def do_GET(self) -> None:
        self.server.asked.append(f"GET {self.path}")
        if self.server.give is not None:
            self.server.give(self)
            return
        raw = self.server.records.get(self.name)
        if raw is None:
            self.send(404, "text/plain", b"routing: not found")
        else:
            self.send(200, RECORD_TYPE, raw)

    def do_PUT(self) -> None:
        self.server.asked.append(f"PUT {self.path}")
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.put_status == 200 and self.headers["Content-Type"] == RECORD_TYPE:
            self.server.take(self.name, raw)
        self.send(self.server.put_status, "text/plain", b"")

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.give is not None:
            self.server.give(self)
            return
        url = urlsplit(self.path)
        if url.path == PEERS:
            self.send(200, "application/json", json.dumps({"Peers": self.server.peers}).encode())
            return
        (argument,) = parse_qs(url.query)["arg"]
        name = argument.removeprefix("/ipns/")
        if url.path == f"{KUBO}put":
            self.server.take(name, only_file(self.headers["Content-Type"], body))
            status, failed = self.server.put_status, {"Message": "failed to find any peer in table"}
            self.send(
                status, "application/json", b"" if status == 200 else json.dumps(failed).encode()
            )
        elif (raw := self.server.records.get(name)) is None:
            error = {"Message": "routing: not found", "Code": 0, "Type": "error"}
            self.send(500, "application/json", json.dumps(error).encode())
        else:
            event = {"Extra": base64.b64encode(raw).decode(), "ID": "", "Type": 5}
            self.send(200, "application/json", json.dumps(event).encode() + b"\n")

    @property
    def name(self) -> str:
        return urlsplit(self.path).path.rpartition("/")[2]

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


class RecordServer(ThreadingHTTPServer):
    """A server that keeps the last record of each name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.records: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.keeps = True
        """Whether a record that is put replaces the one before."""
        self.put_status = 200
        self.peers: list[dict[str, str]] | None = [{"Peer": "12D3KooW"}]
        """Other nodes with which a kubo node is connected."""
        self.give: Callable[[Handler], None] | None = None
        """How GET and POST are answered instead."""
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, name: str, raw: bytes) -> None:
        if self.keeps:
            self.records[name] = raw

    def handle_error(self, *_args: Any) -> None:
        """Ignore clients that disconnect."""


def only_file(content_type: str, body: bytes) -> bytes:
    """Return the one file of a multipart body."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    (part,) = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
    content = part.get_content()
    assert isinstance(content, bytes)
    return content


@contextmanager
def record_server() -> Iterator[RecordServer]:
    with RecordServer() as server, running(server):
        yield server


@contextmanager
def running(server: RecordServer) -> Iterator[None]:
    """Serve until the end of the block."""
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield
    finally:
        server.stopped.set()
        server.shutdown()
        serving.join()


def answer(kind: str, body: bytes, status: int = 200) -> Callable[[Handler], None]:
    """Return how a server answers GET with ``body``."""
    return lambda handler: handler.send(status, kind, body)


def endless(handler: Handler) -> None:
    """Answer with a body that never ends."""
    handler.send_response(200)
    handler.send_header("Content-Type", RECORD_TYPE)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while not handler.server.stopped.is_set():
        handler.wfile.write(b"x" * 4096)


def drip(handler: Handler) -> None:
    """Answer with a byte at a time, so that no read stalls."""
    handler.send_response(200)
    handler.send_header("Content-Type", RECORD_TYPE)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    while not handler.server.stopped.wait(0.05):
        handler.wfile.write(b"x")


def hang(handler: Handler) -> None:
    """Never answer."""
    handler.server.stopped.wait(30)


def redirect(handler: Handler) -> None:
    """Answer with a redirect to another host."""
    handler.send_response(302)
    handler.send_header("Location", f"http://127.0.0.2:{handler.server.server_port}/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()
