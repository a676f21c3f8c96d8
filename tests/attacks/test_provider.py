"""Attacks of a LAN host on a provider."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import KERNEL, document, signed
from phase_boot.provider.backends.site_backend import find_offers, open_served
from phase_boot.provider.events import RequestAnswered, as_line
from phase_boot.provider.limits import Limits
from phase_boot.trust.strict_json import MAX_BYTES
from tests.support.provider import (
    MANIFEST,
    ROOT,
    ROOT_BODY,
    ask,
    connected,
    make_site,
    read_answer,
    running,
    send,
)

SECRET = b"root:x:0:0:what lies outside of the SITE"
HEX = Digest.of(KERNEL).hex
ENTRY = f"/cas/sha256/{HEX}"
NO_ROOTS = [
    "0.json",
    "01.json",
    "1.draft.json",
    "2.draft.json",
    ".1.json.new",
    "1.JSON",
    "+1.json",
    "-1.json",
    "1",
    "root.key",
    "\u0661.json",
    "12345678901.json",
]
"""Names that are invalid for a root, as files of the SITE."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a SITE with a secret beside it, and one within it outside of the layout."""
    (tmp_path / "secret").write_bytes(SECRET)
    root = make_site(tmp_path / "site")
    (root / "secret").write_bytes(SECRET)
    (root / ".publishing").mkdir()
    (root / ".publishing" / "rootfs").write_bytes(SECRET)
    (root / "cas" / "corrupt").mkdir()
    (root / "cas" / "corrupt" / HEX).write_bytes(SECRET)
    for name in NO_ROOTS:
        (root / "root" / name).write_bytes(SECRET)
    return root


TRAVERSALS = [
    "/../secret",
    "/../../../../../../etc/passwd",
    "/cas/sha256/../../../secret",
    "/stable/amd64/../../../secret",
    "/%2e%2e/secret",
    "/%2e%2e%2fsecret",
    "/..%2fsecret",
    "/..%5csecret",
    "/..\\secret",
    "/%252e%252e/secret",
    "/%c0%ae%c0%ae/secret",
    "/cas/sha256/%2e%2e/%2e%2e/secret",
    "/./secret",
    "//secret",
    "///etc/passwd",
    "/etc/passwd",
    "/secret",
    "/secret%00",
    f"{ENTRY}%00",
    f"{ENTRY}/",
    f"{ENTRY}/..",
    f"/{ENTRY}",
    f"/cas/sha256//{HEX}",
    f"/cas//sha256/{HEX}",
    f"/CAS/SHA256/{HEX}",
    f"/cas/sha256/{HEX.upper()}",
    f"/cas/sha256/{HEX}.0",
    f"/cas/corrupt/{HEX}",
    f"/cas/sha256/%{ord(HEX[0]):02x}{HEX[1:]}",
    "/.publishing/rootfs",
    "/stable/amd64/",
    "/stable/amd64",
    "/stable/",
    "/",
    "/stable/amd64/manifest.json/",
    "/stable/amd64/manifest%2ejson",
    "/stable%2famd64%2fmanifest.json",
    "/stable/x86_64/manifest.json",
    "/STABLE/amd64/manifest.json",
    "/stable/amd64/manifest.json;x",
    *(f"/root/{name}" for name in NO_ROOTS),
    "/root/1.json/",
    "/root/1%2ejson",
    "/root/%31.json",
    "/root//1.json",
    "/root/./1.json",
    "/root/../secret",
    "/root/../root/0.json",
    "/ROOT/1.json",
    "/root/",
    "/root",
    "/root/1.json%00",
    "/health/..",
    "*",
]


@pytest.mark.parametrize("path", TRAVERSALS)
async def test_path_traversal(site: Path, path: str) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, path)
        assert (await ask(provider.port, ENTRY)).body == KERNEL
    assert answer.status in {400, 404}
    assert SECRET not in answer.body
    assert KERNEL not in answer.body
    assert ROOT_BODY not in answer.body


async def test_nul_and_bytes_that_are_no_text_in_a_path(site: Path) -> None:
    async with running(site) as provider:
        for byte in (b"\0", b"\xff", b"\x7f", b"\x1b[2J"):
            raw = b"GET /secret" + byte + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            answer = read_answer(await send(provider.port, raw))
            assert answer.status in {400, 404}
            assert SECRET not in answer.body
        assert (await ask(provider.port, ENTRY)).body == KERNEL


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["/", "..", ".", "cas", "sha256", "%", "\x00", "secret"])).map(
        "/".join
    )
)
def test_no_path_but_those_of_the_mirror_layout_opens_anything(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    root = tmp_path_factory.getbasetemp()
    assert open_served(root, path) is None


@pytest.mark.parametrize(
    "place", ["entry", "manifest", "store", "channel", "arch", "root", "roots"]
)
@pytest.mark.parametrize("target", ["outside", "inside"])
async def test_symlink_out_of_the_site(site: Path, tmp_path: Path, place: str, target: str) -> None:
    outside = make_site(tmp_path / "outside") if target == "outside" else site
    (outside / ENTRY[1:]).write_bytes(SECRET)
    spot = {
        "entry": ENTRY[1:],
        "manifest": MANIFEST[1:],
        "store": "cas",
        "channel": "stable",
        "arch": "stable/amd64",
        "root": ROOT[1:],
        "roots": "root",
    }[place]
    (site / spot).rename(tmp_path / "moved")
    (site / spot).symlink_to(outside / spot if target == "outside" else tmp_path / "moved")
    path = {"entry": ENTRY, "store": ENTRY, "root": ROOT, "roots": ROOT}.get(place, MANIFEST)
    async with running(site) as provider:
        answer = await ask(provider.port, path)
    assert answer.status == 404
    if path == MANIFEST:
        assert not find_offers(site)


async def test_a_special_file_does_not_hang_the_provider(site: Path) -> None:
    entry = site / ENTRY[1:]
    for make in (os.mkfifo, os.mkdir, _bind):
        entry.unlink()
        make(str(entry))
        async with running(site) as provider, asyncio.timeout(5):
            assert (await ask(provider.port, ENTRY)).status == 404
            assert (await ask(provider.port, MANIFEST)).status == 200
        entry.rmdir() if entry.is_dir() else None
        if not entry.exists():
            entry.write_bytes(KERNEL)


def _bind(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        # The path of a Unix socket is bounded, so change the directory.
        before = Path.cwd()
        os.chdir(Path(path).parent)
        try:
            one.bind(Path(path).name)
        finally:
            os.chdir(before)


async def test_manifest_larger_than_any_manifest_is_not_served(site: Path) -> None:
    (site / MANIFEST[1:]).write_bytes(b" " * (MAX_BYTES + 1))
    async with running(site) as provider:
        assert (await ask(provider.port, MANIFEST)).status == 404


async def test_root_larger_than_any_root_is_not_served(site: Path) -> None:
    async with running(site) as provider:
        (site / ROOT[1:]).write_bytes(b" " * MAX_BYTES)
        assert (await ask(provider.port, ROOT)).status == 200
        (site / ROOT[1:]).write_bytes(b" " * (MAX_BYTES + 1))
        assert (await ask(provider.port, ROOT)).status == 404
        assert (await ask(provider.port, MANIFEST)).status == 200


async def test_root_that_is_no_file_does_not_hang_the_provider(site: Path) -> None:
    root = site / ROOT[1:]
    root.unlink()
    os.mkfifo(root)
    async with running(site) as provider, asyncio.timeout(5):
        assert (await ask(provider.port, ROOT)).status == 404
        assert (await ask(provider.port, MANIFEST)).status == 200


async def test_garbage_requests(site: Path) -> None:
    async with running(site) as provider:
        for raw in (
            b"\r\n\r\n\r\n\r\nGET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz",
            bytes(range(256)) * 16,
        ):
            answer = await send(provider.port, raw)
            assert b"Traceback" not in answer
            assert not answer or read_answer(answer).status in {400, 404}
        assert (await ask(provider.port, ENTRY)).body == KERNEL


async def test_request_with_a_body_that_never_comes(site: Path) -> None:
    async with running(site) as provider, asyncio.timeout(5):
        head = f"GET {ENTRY} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        assert read_answer(await send(provider.port, head.encode())).body == KERNEL


async def test_a_silent_connection_is_closed(site: Path) -> None:
    async with running(site, Limits(request_read_seconds=0.2, grace_seconds=1)) as provider:
        async with asyncio.timeout(5):
            assert await send(provider.port, b"") == b""
            assert await send(provider.port, b"GET / HTTP/1.1\r\nHost:") == b""
            kept_alive = f"GET {ENTRY} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            assert read_answer(await send(provider.port, kept_alive)).body == KERNEL


async def test_a_request_head_that_trickles_in_is_disconnected(site: Path) -> None:
    head = f"GET {ENTRY} HTTP/1.1\r\nX-Slow: {'y' * 4000}"
    limits = Limits(request_read_seconds=0.3, grace_seconds=1)
    async with running(site, limits) as provider, connected(provider.port) as (reader, writer):
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                for char in head:
                    writer.write(char.encode())
                    await writer.drain()
                    if reader.at_eof():
                        break
                    await asyncio.sleep(0.02)
            # A reset, where bytes were on their way, is a disconnection too.
            assert reader.at_eof() or isinstance(reader.exception(), ConnectionError)
        assert (await ask(provider.port, ENTRY)).body == KERNEL


async def test_a_client_that_reads_nothing_is_disconnected(site: Path) -> None:
    data = b"x" * (32 << 20)
    (site / "cas" / "sha256" / Digest.of(data).hex).write_bytes(data)
    limits = Limits(chunk_seconds=0.3, grace_seconds=1)
    async with running(site, limits) as provider:
        with socket.create_connection(("127.0.0.1", provider.port)) as deaf:
            path = f"/cas/sha256/{Digest.of(data).hex}"
            deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            request = await provider.first_request()
        assert (await ask(provider.port, ENTRY)).body == KERNEL
    assert request.error is not None
    assert "too slow" in request.error
    assert request.bytes < len(data)


async def test_client_that_disconnects_during_a_response(site: Path) -> None:
    data = b"x" * (32 << 20)
    (site / "cas" / "sha256" / Digest.of(data).hex).write_bytes(data)
    async with running(site) as provider:
        async with connected(provider.port) as (reader, writer):
            path = f"/cas/sha256/{Digest.of(data).hex}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.readexactly(100_000)
            writer.transport.abort()
        request = await provider.first_request()
        assert (await ask(provider.port, ENTRY)).body == KERNEL
    assert request.error is not None


async def test_file_that_becomes_shorter_while_it_is_served(site: Path) -> None:
    data = b"x" * (32 << 20)
    entry = site / "cas" / "sha256" / Digest.of(data).hex
    entry.write_bytes(data)
    async with running(site) as provider:
        async with connected(provider.port) as (reader, writer):
            writer.write(f"GET /cas/sha256/{entry.name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            os.truncate(entry, 1000)
            with pytest.raises(asyncio.IncompleteReadError), _resets_are_ends():
                await reader.readexactly(len(data))
        assert (await provider.first_request()).bytes < len(data)


@contextlib.contextmanager
def _resets_are_ends() -> Iterator[None]:
    try:
        yield
    except ConnectionError:
        raise asyncio.IncompleteReadError(b"", None) from None


def test_client_text_reaches_the_terminal_escaped() -> None:
    event = RequestAnswered(
        peer="127.0.0.1",
        method="GET",
        path='/\x1b[2J\r\n{"event":"forged"}\u202e',
        status=404,
        bytes=0,
        seconds=0,
    )
    line = as_line(event)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"] == event.path


def test_manifest_that_does_not_match_its_path_is_not_announced(site: Path) -> None:
    assert len(find_offers(site)) == 1
    for body in (
        signed(document(channel="nightly")),
        signed(document(arch="arm64")),
        b"{}",
        b"\0" * 100,
        b" " * (MAX_BYTES + 1),
    ):
        (site / MANIFEST[1:]).write_bytes(body)
        assert not find_offers(site)
