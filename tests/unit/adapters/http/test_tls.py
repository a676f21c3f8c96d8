"""Real TLS servers on the loopback whose certificates are refused, each for one reason."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import SSLContext

import pytest

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from policies.model import Reach
from tests.support.certificates import DAY, Authority, new_authority
from tests.support.required_programs import SYSTEM_PATH

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this machine trusts."""
    monkeypatch.setenv("PATH", SYSTEM_PATH)
    made = new_authority(tmp_path / "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    return made


class Server:
    """A TLS server on a free port of the loopback, and the clear text that clients sent."""

    def __init__(self) -> None:
        self.clear_text = bytearray()
        self.port = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                self.clear_text += data
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()


@contextlib.asynccontextmanager
async def serving(context: SSLContext | None) -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


async def failure_of(server: Server) -> FetchFailed:
    http = HttpFetcher(wall=lambda: NOW, peek_seconds=0.5)
    try:
        with pytest.raises(FetchFailed) as caught:
            await http.read(f"https://localhost:{server.port}/x", limit=100, reach=Reach.INTERNET)
    finally:
        await http.close()
    assert not isinstance(caught.value, Intercepted)
    assert str(caught.value).isprintable()
    return caught.value


def shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def refused(context: SSLContext | None) -> str:
    """Return why the server is refused; no clear text may have been sent."""
    async with serving(context) as server:
        failure = await failure_of(server)
        assert not server.clear_text or context is None
    return str(failure)


async def test_a_certificate_that_is_not_yet_valid_is_named_with_both_dates_and_the_clock(
    authority: Authority,
) -> None:
    first, last = NOW + 30 * DAY, NOW + 60 * DAY
    reason = await refused(authority.server(first, last))
    assert "its certificate is not yet valid" in reason
    for moment in (first, last, NOW):
        assert shown(moment) in reason
    assert "set the clock in the Seed Shell" in reason
    assert "portal" not in reason


async def test_a_certificate_that_has_expired_is_named_with_both_dates_and_the_clock(
    authority: Authority,
) -> None:
    first, last = NOW - 60 * DAY, NOW - 30 * DAY
    reason = await refused(authority.server(first, last))
    assert "its certificate has expired" in reason
    for moment in (first, last, NOW):
        assert shown(moment) in reason
    assert "renew the mirror's certificate" in reason
    assert "portal" not in reason


async def test_a_certificate_for_another_name_is_named_even_if_it_has_expired_too(
    authority: Authority,
) -> None:
    for first in (NOW - DAY, NOW - 60 * DAY):
        reason = await refused(authority.server(first, first + 2 * DAY, name="other.example"))
        assert "localhost" in reason
        assert "use the host name that it is for" in reason
        assert "portal" in reason


async def test_a_certificate_of_an_unknown_authority_is_named_as_that(
    authority: Authority, tmp_path: Path
) -> None:
    assert authority.certificate.exists()
    stranger = new_authority(tmp_path / "strange")
    reason = await refused(stranger.server(NOW - DAY, NOW + DAY))
    assert "an image that has the authority of this one" in reason
    assert "portal" in reason
    old = await refused(stranger.server(NOW - 60 * DAY, NOW - 30 * DAY))
    assert "an image that has the authority of this one" in old


async def test_a_certificate_that_is_good_is_good(authority: Authority) -> None:
    context = authority.server(NOW - timedelta(hours=1), NOW + DAY)
    async with serving(context) as server:
        http = HttpFetcher()
        try:
            url = f"https://localhost:{server.port}/x"
            assert await http.read(url, limit=100, reach=Reach.INTERNET) == b"{}"
        finally:
            await http.close()


async def test_a_server_without_tls_is_named_as_that() -> None:
    reason = await refused(None)
    assert "no TLS connection comes about" in reason
    assert "check the scheme and the port" in reason


async def test_a_server_that_hangs_in_the_second_handshake_is_given_up(
    authority: Authority,
) -> None:
    context = authority.server(NOW - 60 * DAY, NOW - 30 * DAY)
    asked, over = 0, asyncio.Event()

    async def first_only(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            with contextlib.suppress(OSError):
                await writer.start_tls(context)
        else:
            await over.wait()
        writer.transport.abort()

    listener = await asyncio.start_server(first_only, "127.0.0.1", 0)
    server = Server()
    server.port = listener.sockets[0].getsockname()[1]
    async with asyncio.timeout(10):
        reason = str(await failure_of(server))
    over.set()
    listener.close()
    await asyncio.sleep(0.1)
    assert asked == 2
    assert "its certificate has expired" in reason
    assert shown(NOW) in reason
