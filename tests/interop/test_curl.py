"""curl fetches, resumes and takes parts from our provider."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from phase_boot.content.digest import Digest
from phase_boot.store.layout import entry_path
from tests.support.provider import Running, make_site, running
from tests.support.required_programs import needed

pytestmark = pytest.mark.interop

DATA = os.urandom(1 << 16) * 64


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = make_site(tmp_path / "site")
    (root / entry_path(Digest.of(DATA))).write_bytes(DATA)
    return root


async def curl(provider: Running, *words: str) -> str:
    """Run curl on the artifact and return what it printed."""
    url = f"http://127.0.0.1:{provider.port}/{entry_path(Digest.of(DATA))}"
    process = await asyncio.create_subprocess_exec(
        needed("curl", "curl"),
        "--silent",
        "--show-error",
        "--fail",
        *words,
        url,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode("latin-1")


async def test_curl_downloads(site: Path, tmp_path: Path) -> None:
    async with running(site) as provider:
        await curl(provider, "--output", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == DATA


async def test_curl_resumes(site: Path, tmp_path: Path) -> None:
    (tmp_path / "got").write_bytes(DATA[:1_000_003])
    async with running(site) as provider:
        await curl(provider, "--continue-at", "-", "--output", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == DATA
    assert [(r.status, r.bytes) for r in provider.requests] == [(206, len(DATA) - 1_000_003)]


async def test_curl_takes_a_range(site: Path, tmp_path: Path) -> None:
    async with running(site) as provider:
        await curl(provider, "--range", "100-299", "--output", str(tmp_path / "got"))
        await curl(provider, "--range", "-5", "--output", str(tmp_path / "tail"))
    assert (tmp_path / "got").read_bytes() == DATA[100:300]
    assert (tmp_path / "tail").read_bytes() == DATA[-5:]


async def test_curl_revalidates_by_etag(site: Path, tmp_path: Path) -> None:
    tag = str(tmp_path / "tag")
    async with running(site) as provider:
        await curl(provider, "--etag-save", tag, "--output", str(tmp_path / "got"))
        await curl(provider, "--etag-compare", tag, "--output", str(tmp_path / "again"))
    assert [request.status for request in provider.requests] == [200, 304]


async def test_curl_reads_the_head_and_keeps_the_connection(site: Path) -> None:
    async with running(site) as provider:
        head = await curl(provider, "--head", "--next", "--head", "--write-out", "%{num_connects}")
    assert f"Content-Length: {len(DATA)}" in head
