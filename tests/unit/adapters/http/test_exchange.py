"""One request with any method and a body to a named server, and its bounded response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from phase_boot.adapters.http.client import Client
from phase_boot.adapters.http.exchange import Answer, Request, exchange
from phase_boot.ports.fetcher import FetchFailed
from tests.support.http_server import ok, server


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    made = Client(stall_seconds=5, wall=lambda: datetime.now(UTC))
    try:
        yield made
    finally:
        await made.close()


async def exchanged(given: bytes | None, **more: Any) -> tuple[Answer, str]:
    """Return the answer to a request, and the head of the request."""
    heads: list[str] = []

    def respond(head: str) -> bytes | None:
        heads.append(head)
        return given

    fields: dict[str, Any] = {"method": "GET", "limit": 10, "seconds": 0.5, **more}
    async with server(respond) as url, client() as http:
        answer = await exchange(http, Request(url=url, **fields))
    return answer, heads[0]


async def test_the_method_the_headers_and_the_body_are_sent() -> None:
    kind = {"Content-Type": "application/x-test"}
    answer, head = await exchanged(ok(b"taken"), method="PUT", headers=kind, body=b"1234567")
    assert answer == Answer(200, "application/octet-stream", b"taken")
    assert head.startswith("PUT /x HTTP/1.1\r\n")
    assert "Content-Type: application/x-test\r\n" in head
    assert "Content-Length: 7\r\n" in head


async def test_a_status_is_not_a_failure_and_its_body_is_cut() -> None:
    page = ok(b"x" * 5000, "Content-Type: Text/HTML; charset=utf-8", status="504 Gateway Timeout")
    answer, _ = await exchanged(page)
    assert answer == Answer(504, "text/html", b"x" * 10)


async def test_a_redirect_is_returned_and_not_followed() -> None:
    moved = ok(b"", "Location: http://127.0.0.1:1/", status="307 Temporary Redirect")
    answer, _ = await exchanged(moved, method="PUT", body=b"secret")
    assert answer.status == 307


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (ok(b"x" * 11), "larger than 10 bytes"),
        (ok(b"x", length=5), "ended before"),
        (b"no HTTP at all\r\n\r\n", "no HTTP"),
        (None, "within 0.5 seconds"),
    ],
    ids=["too large", "cut off", "no HTTP", "silence"],
)
async def test_a_response_that_cannot_be_used_is_a_failure(
    given: bytes | None, reason: str
) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await exchanged(given)


async def test_a_text_that_is_no_url_is_a_failure() -> None:
    async with client() as http:
        with pytest.raises(FetchFailed, match="no usable URL"):
            await exchange(http, Request(method="GET", url="file:///x", limit=1, seconds=1))
