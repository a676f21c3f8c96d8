"""Web pages of any origin read what IPFS serves, and nothing else of a provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.content.cid import raw_cid
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import KERNEL
from phase_boot.store.layout import record_paths
from tests.support.announced_site import make_announced_site
from tests.support.ipns_records import NAME
from tests.support.provider import MANIFEST, ask, running

ALLOWED = "Access-Control-Allow-Origin"
ROUTED, AT_GATEWAY = (f"/{path}" for path in record_paths(NAME))
KERNEL_CID = raw_cid(Digest.of(KERNEL))
ABSENT = "/ipfs/bafkqaaa1"
OPEN = [
    f"/ipfs/{KERNEL_CID}?format=raw",
    ABSENT,
    ROUTED,
    f"{AT_GATEWAY}?format=ipns-record",
    AT_GATEWAY,
    f"/routing/v1/providers/{KERNEL_CID}",
]
CLOSED = [MANIFEST, "/health", "/announce", "/receipts", "/", "/ipfs"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_announced_site(tmp_path)


@pytest.mark.parametrize("path", OPEN)
async def test_a_page_may_read_every_answer_of_gateway_and_router(site: Path, path: str) -> None:
    async with running(site, public_url="https://boot.example") as provider:
        answer = await ask(provider.port, path, Origin="https://page.example")
        preflight = await ask(provider.port, path, "OPTIONS", Access_Control_Request_Method="GET")
    assert answer.headers[ALLOWED] == preflight.headers[ALLOWED] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    assert (preflight.status, preflight.body) == (204, b"")
    assert "GET" in preflight.headers["Access-Control-Allow-Methods"]
    assert "PUT" not in preflight.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize("path", CLOSED)
async def test_a_page_may_read_nothing_else(site: Path, path: str) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, path, Origin="https://page.example")
        preflight = await ask(provider.port, path, "OPTIONS")
    assert ALLOWED not in {*answer.headers, *preflight.headers}
    assert preflight.status == 405
