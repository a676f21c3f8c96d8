from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from phase_boot.content.cid import raw_cid
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import ROOTFS, document, signed
from phase_boot.provider.limits import Limits
from phase_boot.store.layout import entry_path
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

ENTRY = f"/cas/sha256/{Digest.of(ROOTFS).hex}"
ETAG = f'"{Digest.of(ROOTFS).hex}"'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_site(tmp_path / "site")


async def test_an_artifact_is_served_under_its_hash(site: Path) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, ENTRY)
    assert answer.status == 200
    assert answer.body == ROOTFS
    assert answer.headers["ETag"] == ETAG
    assert answer.headers["Content-Length"] == str(len(ROOTFS))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in answer.headers["Cache-Control"]


async def test_a_manifest_is_served_and_never_from_a_cache(site: Path) -> None:
    async with running(site) as provider:
        first = await ask(provider.port, MANIFEST)
        newer = signed(document(version="2025.11.13"))
        (site / MANIFEST[1:]).write_bytes(newer)
        second = await ask(provider.port, MANIFEST)
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Cache-Control"] == "no-cache"
    assert second.body == newer
    assert second.headers["ETag"] == f'"{hashlib.sha256(newer).hexdigest()}"'


async def test_each_root_is_served_and_never_from_a_cache(site: Path) -> None:
    async with running(site) as provider:
        first = await ask(provider.port, ROOT)
        missing = await ask(provider.port, "/root/2.json")
        (site / "root" / "2.json").write_bytes(b"newer")
        second = await ask(provider.port, "/root/2.json")
    assert (first.status, first.body) == (200, ROOT_BODY)
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Cache-Control"] == "no-cache"
    assert first.headers["ETag"] == f'"{hashlib.sha256(ROOT_BODY).hexdigest()}"'
    assert missing.status == 404
    assert (second.status, second.body) == (200, b"newer")


async def test_a_site_without_roots_has_none_to_serve(site: Path) -> None:
    (site / ROOT[1:]).unlink()
    (site / "root").rmdir()
    async with running(site) as provider:
        assert (await ask(provider.port, ROOT)).status == 404
        assert (await ask(provider.port, MANIFEST)).status == 200


async def test_head_has_the_headers_of_get_and_no_body(site: Path) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, ENTRY, "HEAD")
        part = await ask(provider.port, ENTRY, "HEAD", Range="bytes=1-2")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(ROOTFS))
    assert (part.status, part.headers["Content-Length"], part.body) == (206, "2", b"")
    assert [request.bytes for request in provider.requests] == [0, 0]


async def test_a_range_is_answered_with_that_part(site: Path) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, ENTRY, Range="bytes=100-199")
        tail = await ask(provider.port, ENTRY, Range="bytes=5990-")
    assert (answer.status, answer.body) == (206, ROOTFS[100:200])
    assert answer.headers["Content-Range"] == "bytes 100-199/6000"
    assert answer.headers["Content-Length"] == "100"
    assert (tail.status, tail.body) == (206, ROOTFS[5990:])


async def test_a_range_beyond_the_end_is_416_with_the_size(site: Path) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, ENTRY, Range="bytes=6000-")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */6000"


async def test_if_range_of_another_entity_gets_the_whole_file(site: Path) -> None:
    async with running(site) as provider:
        same = await ask(provider.port, ENTRY, Range="bytes=1-2", If_Range=ETAG)
        other = await ask(provider.port, ENTRY, Range="bytes=1-2", If_Range='"other"')
        dated = await ask(
            provider.port, ENTRY, Range="bytes=1-2", If_Range="Wed, 21 Oct 2015 07:28:00 GMT"
        )
    assert (same.status, other.status, dated.status) == (206, 200, 200)
    assert other.body == ROOTFS


async def test_if_none_match_gets_304(site: Path) -> None:
    async with running(site) as provider:
        answers = [
            await ask(provider.port, ENTRY, If_None_Match=value)
            for value in (ETAG, f'"x", W/{ETAG}', "*", '"x"')
        ]
    assert [answer.status for answer in answers] == [304, 304, 304, 200]
    assert answers[0].body == b""


async def test_one_connection_serves_many_requests(site: Path) -> None:
    async with running(site) as provider, connected(provider.port) as (reader, writer):
        for _ in range(3):
            writer.write(f"GET {ENTRY} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 OK" in head
            assert await reader.readexactly(len(ROOTFS)) == ROOTFS


async def test_health_lists_the_offered_versions(site: Path) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, "/health")
    assert answer.headers["Content-Type"].startswith("application/json")
    health = json.loads(answer.body)
    cid = raw_cid(Digest.of((site / MANIFEST[1:]).read_bytes()))
    offer = {
        "channel": "stable",
        "arch": "amd64",
        "version": "2025.11.12",
        "manifest_cid": cid,
    }
    assert health == {"status": "ok", "requests": 1, "offers": [offer]}


async def test_health_of_a_folder_without_a_manifest_is_empty(tmp_path: Path) -> None:
    async with running(tmp_path) as provider:
        assert json.loads((await ask(provider.port, "/health")).body)["status"] == "empty"
        (tmp_path / "stable" / "amd64").mkdir(parents=True)
        (tmp_path / MANIFEST[1:]).write_bytes(signed(document(channel="nightly")))
        assert json.loads((await ask(provider.port, "/health")).body)["status"] == "empty"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "BREW"])
async def test_only_get_and_head_are_answered(site: Path, method: str) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, ENTRY, method)
    assert answer.status in {400, 405}
    assert ROOTFS not in answer.body


async def test_each_request_emits_one_event(site: Path) -> None:
    async with running(site) as provider:
        await ask(provider.port, ENTRY, Range="bytes=0-9")
        await ask(provider.port, "/nothing?x=1")
        await send(provider.port, b"\x16\x03\x01 not http\r\n\r\n")
    requests = [(r.method, r.path, r.status, r.bytes) for r in provider.requests]
    assert requests[:2] == [("GET", ENTRY, 206, 10), ("GET", "/nothing", 404, 31)]
    assert [(r.method, r.path, r.status, r.error) for r in provider.requests[2:]] == [
        ("", "", 400, "not readable as HTTP")
    ]
    assert {request.peer for request in provider.requests} == {"127.0.0.1"}


async def test_connections_beyond_the_limit_are_closed_and_the_others_go_on(site: Path) -> None:
    async with running(site, Limits(connections=1, grace_seconds=1)) as provider:
        async with connected(provider.port) as (reader, writer):
            await asyncio.sleep(0.05)
            assert await send(provider.port, b"") == b""
            writer.write(f"GET {ENTRY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert read_answer(await reader.read()).body == ROOTFS
        assert (await ask(provider.port, ENTRY)).status == 200


async def test_downloads_in_progress_may_end_when_the_provider_stops(site: Path) -> None:
    data = b"x" * (8 << 20)
    path = entry_path(Digest.of(data))
    (site / path).write_bytes(data)
    async with running(site, Limits(grace_seconds=10)) as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        rest = asyncio.create_task(reader.read())
    assert len(await rest) == len(data)
    writer.close()
    await writer.wait_closed()
