"""Downloads from servers with arbitrary responses, on real sockets."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from phase_boot.adapters.http.client import Response
from phase_boot.adapters.http.fetcher import HttpRangeResponse
from phase_boot.adapters.http.response import Body, Coding, ResponseHead
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from policies.model import Reach
from tests.support.http_server import BODY, fetcher, ok, page, part, partial, server, streamed


async def test_a_whole_artifact_arrives() -> None:
    assert await streamed(lambda _: ok(BODY)) == BODY


async def test_a_range_is_requested_from_the_right_offset() -> None:
    def answer(head: str) -> bytes:
        assert "Range: bytes=1000-" in head
        assert "Accept-Encoding: identity" in head
        content_range = f"Content-Range: bytes 1000-{len(BODY) - 1}/{len(BODY)}"
        return ok(BODY[1000:], content_range, status="206 Partial Content")

    assert await streamed(answer, offset=1000) == BODY[1000:]


async def test_a_server_without_ranges_sends_all_and_only_the_missing_part_is_used() -> None:
    assert await streamed(lambda _: ok(BODY), offset=1000) == BODY[1000:]


@pytest.mark.parametrize(
    ("data", "reason", "again"),
    [
        (ok(BODY[:-1], length=len(BODY)), "connection failed", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY[:9], "bytes early", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY + b"!", "sent more than", False),
        (ok(BODY + b"!"), "were signed", False),
        (ok(BODY[:-1]), "were signed", False),
        (ok(BODY, "Content-Encoding: br"), "encodes what was asked for unencoded .br.", False),
        (ok(BODY, "Content-Range: bytes 5-9/10", status="206 Partial"), "with the range", False),
        (
            ok(b"", "Location: http://192.0.2.1/x", status="302 Found"),
            "redirects to http://192",
            False,
        ),
        (ok(b"", status="404 Not Found"), "HTTP 404", False),
        (ok(b"", status="403 Forbidden"), "HTTP 403", False),
        (ok(b"", status="500 Oops"), "HTTP 500", True),
        (ok(b"", status="503 Later"), "HTTP 503", True),
        (b"garbage\r\n\r\n", "connection failed", True),
        (b"", "connection failed", True),
        (None, "stopped answering", True),
    ],
)
async def test_a_response_that_is_not_the_artifact_is_named(
    data: bytes | None, reason: str, *, again: bool
) -> None:
    with pytest.raises(FetchFailed, match=reason) as caught:
        await streamed(lambda _: data)
    assert caught.value.retryable is again


async def test_a_range_is_requested_and_no_more_bytes_are_yielded() -> None:
    def answer(head: str) -> bytes:
        assert "Range: bytes=1000-5999\r" in head
        return partial(1000, 5999)

    assert await part(answer) == BODY[1000:6000]


async def test_a_part_that_reaches_beyond_the_end_ends_with_the_file() -> None:
    def answer(_head: str) -> bytes:
        return partial(len(BODY) - 7, len(BODY) - 1)

    assert await part(answer, offset=len(BODY) - 7) == BODY[-7:]


async def test_of_a_server_without_ranges_only_the_beginning_is_taken() -> None:
    assert await part(lambda _: ok(BODY), offset=0) == BODY[:5000]
    with pytest.raises(FetchFailed, match="only as a whole") as caught:
        await part(lambda _: ok(BODY))
    assert caught.value.retryable is False


@pytest.mark.parametrize(
    ("data", "reason", "again"),
    [
        (partial(1000, 5998), "with the range", False),
        (partial(999, 5998), "with the range", False),
        (partial(6000, 7000), "with the range", False),
        (partial(1000, 5999, "Content-Encoding: gzip"), "sends parts of that", False),
        (partial(1000, 5999, "Content-Encoding: zstd"), "unencoded .zstd.", False),
        (partial(1000, 5999, "Content-Type: multipart/byteranges; x"), "several parts", False),
        (ok(BODY, status="206 Partial Content"), "where 5000 were asked for", False),
        (ok(b"", status="416 Range Not Satisfiable"), "HTTP 416", False),
        (
            ok(b"", "Location: http://192.0.2.1/x", status="302 Found"),
            "redirects to http://192",
            False,
        ),
        (partial(1000, 5999)[:-1], "connection failed", True),
        (None, "stopped answering", True),
    ],
)
async def test_a_response_with_another_range_is_named(
    data: bytes | None,
    reason: str,
    again: bool,  # noqa: FBT001 - a case
) -> None:
    with pytest.raises(FetchFailed, match=reason) as caught:
        await part(lambda _: data)
    assert caught.value.retryable is again


async def test_a_redirect_is_not_followed_even_to_the_same_server() -> None:
    asked = []

    def answer(head: str) -> bytes:
        asked.append(head.splitlines()[0])
        return ok(b"", "Location: /y", status="307 Temporary Redirect")

    with pytest.raises(FetchFailed, match="redirects"):
        await streamed(answer)
    assert asked == ["GET /x HTTP/1.1"]


async def test_a_document_larger_than_its_limit_is_refused_while_it_arrives() -> None:
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(200_000)
    async with server(lambda _: endless) as url, fetcher() as http:
        with pytest.raises(FetchFailed, match="larger than 65536 bytes"):
            await http.read(url, limit=65_536, reach=Reach.INTERNET)


async def test_a_document_is_read() -> None:
    async with server(lambda _: ok(b"{}")) as url, fetcher() as http:
        assert await http.read(url, limit=10, reach=Reach.INTERNET) == b"{}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "ftp://x/y",
        "http://[::1",
        "nonsense",
        "http://a b/",
        "http://u@8.8.8.8/",
        "http://0x7f.1/",
    ],
)
async def test_an_invalid_url_is_a_failure_and_no_crash(url: str) -> None:
    async with fetcher() as http:
        with pytest.raises(FetchFailed):
            await http.read(url, limit=10, reach=Reach.INTERNET)


async def test_a_refused_connection_is_a_retryable_failure() -> None:
    async with fetcher() as http:
        with pytest.raises(FetchFailed, match="connection failed") as caught:
            await http.read("http://127.0.0.1:1/", limit=10, reach=Reach.INTERNET)
    assert caught.value.retryable


FORM = b"<html><form action=/login method=post><button>I agree</button></form></html>"


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        (
            ok(b"", "Location: http://portal.example/login?to=\x1b[31mx", status="302 Found"),
            "it sent us to http://portal.example/login\\?to=",
        ),
        (ok(b"", "Location: https://192.0.2.1/", status="307 Temporary Redirect"), "it sent us"),
        (ok(FORM, status="511 Network Authentication Required"), "sign-in .HTTP 511"),
        (page(FORM, "text/html; charset=utf-8"), "web page"),
        (page(b"\xef\xbb\xbf\n <!DOCTYPE html>", "application/json"), "web page"),
    ],
    ids=["redirect", "address", "511", "page", "page-as-json"],
)
async def test_a_captive_portal_is_detected_by_its_response(answer: bytes, how: str) -> None:
    async with server(lambda _: answer) as url, fetcher() as http:
        with pytest.raises(Intercepted, match=how) as caught:
            await http.read(url, limit=1000, reach=Reach.INTERNET)
    assert not caught.value.retryable
    assert str(caught.value).isprintable()


async def test_the_redirect_of_a_portal_is_reported_in_bounds_and_not_followed() -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(head)
        return ok(b"", "Location: http://192.0.2.1/" + "x" * 5000, status="302 Found")

    async with server(answer) as url, fetcher() as http:
        with pytest.raises(Intercepted) as caught:
            await http.read(url, limit=1000, reach=Reach.INTERNET)
    assert len(str(caught.value)) < 200
    assert len(asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"", "Location: /elsewhere", status="302 Found"),
        ok(b"", "Location: https://127.0.0.1/x", status="301 Moved Permanently"),
        ok(FORM, status="404 Not Found"),
    ],
    ids=["path", "same-host", "404"],
)
async def test_ordinary_responses_are_not_taken_for_a_portal(answer: bytes) -> None:
    async with server(lambda _: answer) as url, fetcher() as http:
        with pytest.raises(FetchFailed) as caught:
            await http.read(url, limit=1000, reach=Reach.INTERNET)
    assert not isinstance(caught.value, Intercepted)


async def test_a_server_that_shows_its_certificate_is_no_portal(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    elsewhere = ok(b"", "Location: http://portal.example/", status="302 Found")
    async with server(lambda _: elsewhere, tls=context) as url, fetcher() as http:
        with pytest.raises(FetchFailed, match="redirects") as caught:
            await http.read(url, limit=1000, reach=Reach.INTERNET)
    assert not isinstance(caught.value, Intercepted)


async def test_an_untrusted_certificate_suggests_a_captive_portal(authority: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority)
    async with server(lambda _: ok(b"{}"), tls=context) as url, fetcher() as http:
        with pytest.raises(FetchFailed, match="captive portal") as caught:
            await http.read(url, limit=10, reach=Reach.INTERNET)
    assert "self-signed certificate" in str(caught.value)
    assert not caught.value.retryable


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for localhost that signs itself, and its key, in one file."""
    both = tmp_path / "both.pem"
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            "-",
            "-out",
            "-",
        ],
        capture_output=True,
        check=True,
    )
    both.write_bytes(made.stdout)
    return both


async def test_https_is_checked_against_the_machines_authorities(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority)
    async with server(lambda _: ok(b"{}"), tls=context) as url:
        async with fetcher() as stranger:
            with pytest.raises(FetchFailed, match="certificate does not count here"):
                await stranger.read(url, limit=10, reach=Reach.INTERNET)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        async with fetcher() as trusting:
            assert await trusting.read(url, limit=10, reach=Reach.INTERNET) == b"{}"


async def test_a_connection_whose_bytes_are_in_cipher_is_never_given_up(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority)
    body = BODY * 200
    span = f"Content-Range: bytes 0-{len(body) - 1}/{len(body)}"
    part = ok(body, span, status="206 Partial Content")
    async with (
        server(lambda _: part, tls=context) as url,
        fetcher(near=lambda _host: True) as http,
        aclosing(http.ranges(url, offset=0, length=len(body), reach=Reach.INTERNET)) as parts,
    ):
        answer = await anext(parts)
        assert answer.detach() is None
        assert b"".join([piece async for piece in answer.pieces()]) == body


async def test_a_long_range_of_a_plain_server_nearby_may_be_detached() -> None:
    body = BODY * 200
    span = f"Content-Range: bytes 0-{len(body) - 1}/{len(body)}"
    part = ok(body, span, status="206 Partial Content")
    async with (
        server(lambda _: part) as url,
        fetcher(near=lambda _host: True) as http,
        aclosing(http.ranges(url, offset=0, length=len(body), reach=Reach.INTERNET)) as parts,
    ):
        passed = (await anext(parts)).detach()
        assert passed is not None
        passed.connection.close()
        assert len(passed.came) + passed.left == len(body)


@dataclass
class Answered:
    """A response with a body of some length that came over a connection of some round trip."""

    round_trip: float | None
    head: ResponseHead = field(
        default_factory=lambda: ResponseHead(status=206, headers={}, length=2 << 20)
    )

    def detach(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("seconds", [0.05, None])
def test_a_connection_with_a_long_round_trip_is_kept_for_the_next_request(
    seconds: float | None,
) -> None:
    body = Body(coding=Coding.IDENTITY, skip=0, length=2 << 20, more=False, sure=True, ends=False)
    answer = cast("Response", Answered(seconds))
    response = HttpRangeResponse(answer, body, near=lambda: True, is_last=True)
    assert response.detach() is None


async def test_packets_that_arrive_one_after_the_other_are_gathered() -> None:
    packets = 200

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"", length=packets * 1000))
        for _ in range(packets):
            writer.write(bytes(1000))
            await writer.drain()
            await asyncio.sleep(0.0001)
        writer.close()

    listener = await asyncio.start_server(trickle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x"
    size = packets * 1000
    async with listener, fetcher() as http:
        body = http.stream(url, offset=0, size=size, reach=Reach.INTERNET)
        pieces = [piece async for piece in body]
    assert sum(map(len, pieces)) == size
    assert len(pieces) < packets / 2


async def test_what_came_before_the_connection_broke_is_passed_on() -> None:
    body, came = ok(BODY[:5000], length=len(BODY)), bytearray()
    async with server(lambda _: body) as url, fetcher() as http:

        async def read() -> None:
            async for piece in http.stream(url, offset=0, size=len(BODY), reach=Reach.INTERNET):
                came.extend(piece)

        with pytest.raises(FetchFailed):
            await read()
    assert came == BODY[:5000]


async def test_a_short_range_is_read_without_a_look_at_the_interfaces() -> None:
    looks: list[str] = []

    def near(host: str) -> bool:
        looks.append(host)
        return True

    span = f"Content-Range: bytes 0-{len(BODY) - 1}/{len(BODY)}"
    part = ok(BODY, span, status="206 Partial Content")
    async with (
        server(lambda _: part) as url,
        fetcher(near=near) as http,
        aclosing(http.ranges(url, offset=0, length=len(BODY), reach=Reach.INTERNET)) as parts,
    ):
        answer = await anext(parts)
        assert answer.detach() is None
        assert b"".join([piece async for piece in answer.pieces()]) == BODY
    assert looks == []


async def test_no_connection_is_opened_beyond_the_lan() -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(head)
        return ok(BODY)

    async with server(answer) as url, fetcher(near=lambda _host: False) as http:
        with pytest.raises(FetchFailed, match="beyond this network") as caught:
            await http.read(url, limit=len(BODY), reach=Reach.LAN)
        assert not caught.value.retryable
        with pytest.raises(FetchFailed, match="beyond this network"):
            async for _ in http.stream(url, offset=0, size=len(BODY), reach=Reach.LAN):
                pass
        assert asked == []
        assert await http.read(url, limit=len(BODY), reach=Reach.INTERNET) == BODY


@pytest.mark.parametrize(
    "place", ["mirror.example", "localhost", "8.8.8.8", "[2001:db8::1]:80", "8.8.8.8:80"]
)
async def test_a_name_and_a_public_address_are_beyond_the_lan(place: str) -> None:
    async with fetcher() as http:
        with pytest.raises(FetchFailed, match="beyond this network"):
            await http.read(f"http://{place}/x", limit=10, reach=Reach.LAN)
