"""What anybody on the LAN can try on a provider that takes receipts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phase_boot.drill.receipts import NODE, OTHER_NODE, booted, receipt, sealed
from phase_boot.provider.limits import Limits
from phase_boot.store.digest import Digest
from phase_boot.trust.arch import Arch
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.receipt import MAX_BYTES, sign_receipt
from tests.fakes.provider import MANIFEST, ask, make_site, post, read_answer, running, send
from tests.unit.provider.test_receipts import with_history

GOOD = sign_receipt(NODE, receipt())
FLIPPED = GOOD.replace(b'"wall_us":2100', b'"wall_us":2101')


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return with_history(make_site(tmp_path / "site"))


LIES = {
    "one number changed": (FLIPPED, "receipt.bad-signature"),
    "signed by another machine": (sealed(receipt().table(), OTHER_NODE), "receipt.wrong-signer"),
    "another spelling": (GOOD + b"\n", "receipt.not-canonical"),
    "no receipt": (b"{}", "document.bad-field"),
    "no JSON": (b"\xff\x00", "document.not-json"),
    "nothing": (b"", "document.not-json"),
    "a version that was never published": (
        sign_receipt(NODE, receipt(booted=booted(manifest=Digest.of(b"another")))),
        "receipt.unknown-manifest",
    ),
    "a version of another architecture": (
        sign_receipt(NODE, receipt(arch=Arch.ARM64)),
        "receipt.unknown-manifest",
    ),
    "no boot": (sign_receipt(NODE, receipt(booted=None)), "receipt.unknown-manifest"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_receipt_is_refused_by_name_and_leaves_nothing(site: Path, lie: str) -> None:
    raw, code = LIES[lie]
    async with running(site) as provider:
        answer = await post(provider.port, "/receipts", raw)
        assert (await ask(provider.port, MANIFEST)).status == 200
    assert answer.status == 422
    assert json.loads(answer.body)["code"] == code
    assert not (site / "receipts").exists()


async def test_a_receipt_without_end(site: Path) -> None:
    head = "POST /receipts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    told = f"{head}Content-Length: {MAX_BYTES + 1}\r\n\r\n".encode()
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    untold = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 4
    async with running(site) as provider:
        for raw in (told, untold):
            assert read_answer(await send(provider.port, raw)).status == 413
        assert (await post(provider.port, "/receipts", GOOD)).status == 201


async def test_a_receipt_that_never_comes(site: Path) -> None:
    head = b"POST /receipts HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n"
    async with running(site, Limits(silence_seconds=0.2, grace_seconds=1)) as provider:
        assert read_answer(await send(provider.port, head + b"{")).status == 408
        assert (await ask(provider.port, MANIFEST)).status == 200


async def test_made_up_machines_fill_the_folder_and_push_no_honest_one_out(site: Path) -> None:
    limits = Limits(nodes=4, grace_seconds=1)
    async with running(site, limits) as provider:
        statuses = []
        for number in range(6):
            key = NODE if number == 0 else SigningKey(bytes([number]) * 32)
            raw = sign_receipt(key, receipt(node=key.keyid))
            statuses.append((await post(provider.port, "/receipts", raw)).status)
        again = sign_receipt(NODE, receipt(wall_us=7))
        statuses.append((await post(provider.port, "/receipts", again)).status)
    assert statuses == [201, 201, 201, 201, 507, 507, 201]
    folder = site / "receipts" / NODE.keyid.removeprefix("ed25519:")
    assert {path.read_bytes() for path in folder.iterdir()} == {GOOD, again}
