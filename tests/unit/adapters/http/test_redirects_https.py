"""Redirects between HTTPS servers with names of their own, on the loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.adapters.http.resolver import Scopes
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from phase_boot.url import Scope, scope_of
from policies.model import Reach
from tests.support.certificates import DAY, Authority, new_authority
from tests.support.http_server import BODY, ok, server
from tests.support.required_programs import SYSTEM_PATH

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = ("mirror.example", "cdn.example")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this machine trusts."""
    monkeypatch.setenv("PATH", SYSTEM_PATH)
    made = new_authority(tmp_path / "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    return made


def scope(host: str) -> Scope:
    return Scope.PUBLIC if host == "127.0.0.1" else scope_of(host)


async def lookup(_host: str) -> list[tuple[int, int, str]]:
    return [(socket.AF_INET, socket.IPPROTO_TCP, "127.0.0.1")]


@asynccontextmanager
async def two(
    authority: Authority, first: Callable[[str], str], then: bytes, *, plain: bool = False
) -> AsyncIterator[tuple[HttpFetcher, str, list[str]]]:
    """Serve a redirect to ``first(the other server's URL)`` at one name, ``then`` at another."""
    one, other = (authority.server(NOW - DAY, NOW + DAY, name=name) for name in NAMES)
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(head)
        return then

    http = HttpFetcher(stall_seconds=5, scopes=Scopes(scope, lookup))
    async with server(answer, tls=None if plain else other) as far:
        target = first(far.replace("localhost", NAMES[1]).replace("127.0.0.1", NAMES[1]))
        moved = ok(b"", f"Location: {target}", status="302 Found")
        async with server(lambda _: moved, tls=one) as near:
            yield http, near.replace("localhost", NAMES[0]), asked
    await http.close()


async def test_a_document_moves_to_another_https_host_and_the_host_is_named(
    authority: Authority,
) -> None:
    moved: list[str] = []
    async with two(authority, lambda far: f"{far}?sig=a%2Fb", ok(b"{}")) as (http, url, asked):
        body = await http.read(
            url, limit=10, reach=Reach.INTERNET, redirects=1, on_redirect=moved.append
        )
        assert body == b"{}"
        assert [target.split(":")[1] for target in moved] == [f"//{NAMES[1]}"]
        assert asked[0].startswith("GET /x?sig=a%2Fb HTTP/1.1")
        with pytest.raises(FetchFailed, match="no redirect is followed here"):
            await http.read(url, limit=10, reach=Reach.INTERNET)


async def test_an_artifact_moves_to_another_https_host(authority: Authority) -> None:
    async with two(authority, str, ok(BODY)) as (http, url, _asked):
        pieces = http.stream(url, offset=0, size=len(BODY), reach=Reach.INTERNET, redirects=1)
        assert b"".join([piece async for piece in pieces]) == BODY


async def test_nothing_moves_from_https_to_plain_http(authority: Authority) -> None:
    async with two(authority, str, ok(BODY), plain=True) as (http, url, asked):
        with pytest.raises(FetchFailed, match=f"from https to http://{NAMES[1]}") as caught:
            await http.read(url, limit=10, reach=Reach.INTERNET, redirects=5)
        assert not isinstance(caught.value, Intercepted)
        pieces = http.stream(url, offset=0, size=len(BODY), reach=Reach.INTERNET, redirects=5)
        with pytest.raises(FetchFailed, match="from https to http://"):
            await anext(pieces)
    assert asked == []
