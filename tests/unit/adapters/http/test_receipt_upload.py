"""Uploads of receipts take bounded time and follow no redirect."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from phase_boot.adapters.http.receipt_upload import HttpReceiptUploader
from phase_boot.ports.receipt_upload import UploadFailed
from policies.model import Reach

RECEIPT = b'{"job":"hello"}'
Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def provider(answer: Callable[[str, bytes], Answer]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, reply, headers = answer(self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_provider_gets_the_receipt_byte_for_byte() -> None:
    taken = []

    def take(path: str, body: bytes) -> Answer:
        taken.append((path, body))
        return 201, b"{}", {}

    with provider(take) as base:
        HttpReceiptUploader().upload(base, RECEIPT, reach=Reach.LAN)
    assert taken == [("/receipts", RECEIPT)]


def test_the_reason_of_a_rejected_receipt_is_shown_escaped() -> None:
    reply = b'{"code": "x", "error": "never published \\u001b[2J"}'
    with provider(lambda _path, _body: (422, reply, {})) as base, pytest.raises(UploadFailed) as no:
        HttpReceiptUploader().upload(base, RECEIPT, reach=Reach.LAN)
    assert str(no.value) == r"it answered HTTP 422: never published \x1b[2J"


def test_an_overloaded_provider_is_retried_after_its_stated_pause() -> None:
    with (
        provider(lambda _path, _body: (503, b"", {"Retry-After": "3"})) as base,
        pytest.raises(UploadFailed, match="HTTP 503") as no,
    ):
        HttpReceiptUploader().upload(base, RECEIPT, reach=Reach.LAN)
    assert (no.value.retryable, no.value.retry_after) == (True, 3.0)


@pytest.mark.parametrize("reply", [b"", b"[" * 4000, b"[1]", b'{"error": 1}', b"\xff"])
def test_a_mirror_without_receipt_uploads_is_skipped(reply: bytes) -> None:
    with (
        provider(lambda _path, _body: (405, reply, {})) as base,
        pytest.raises(UploadFailed, match=r"HTTP 405$"),
    ):
        HttpReceiptUploader().upload(base, RECEIPT, reach=Reach.LAN)


def test_a_redirect_of_an_upload_is_not_followed() -> None:
    seen = []

    def elsewhere(path: str, _body: bytes) -> Answer:
        seen.append(path)
        return 307, b"", {"Location": "/other"}

    with provider(elsewhere) as base, pytest.raises(UploadFailed, match="HTTP 307"):
        HttpReceiptUploader().upload(base, RECEIPT, reach=Reach.LAN)
    assert seen == ["/receipts"]


def test_an_unreachable_provider_is_reported() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(UploadFailed, match="could not be reached"):
            HttpReceiptUploader().upload(base, RECEIPT, reach=Reach.INTERNET)


def test_a_silent_provider_fails_within_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UploadFailed, match="took too long"):
            HttpReceiptUploader(seconds=0.1).upload(base, RECEIPT, reach=Reach.LAN)


@pytest.mark.parametrize("base", ["http://203.0.113.9:8070", "http://mirror.example"])
def test_no_receipt_is_uploaded_beyond_the_reach_of_the_mode(base: str) -> None:
    with pytest.raises(UploadFailed, match="beyond this network"):
        HttpReceiptUploader().upload(base, RECEIPT, reach=Reach.LAN)


def test_a_proxy_beyond_the_reach_of_the_mode_is_not_used() -> None:
    uploader = HttpReceiptUploader(
        proxy="http://203.0.113.1:3128", near=lambda host: host == "192.0.2.7"
    )
    with pytest.raises(UploadFailed, match="beyond this network"):
        uploader.upload("http://192.0.2.7:8070", RECEIPT, reach=Reach.LAN)
