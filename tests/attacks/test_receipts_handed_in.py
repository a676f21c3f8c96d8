"""Attacks of a LAN host on a provider that accepts receipts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import document, signed
from phase_boot.provider.limits import Limits
from phase_boot.provider.receipt_store import MAX_NETWORKS, NETWORKS, ReceiptStore
from phase_boot.store.layout import kept_manifest_path
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.receipt import MAX_BYTES, Outcome, Output, sign_receipt
from tests.support.provider import (
    MANIFEST,
    ask,
    make_site,
    post,
    read_answer,
    running,
    send,
    with_history,
)
from tests.support.receipts import NODE, OTHER_NODE, booted, job_table, receipt, sealed

GOOD = sign_receipt(NODE, receipt())
FLIPPED = GOOD.replace(b'"wall_us":2100', b'"wall_us":2101')


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = with_history(make_site(tmp_path / "site"))
    listed = site / kept_manifest_path("stable", Arch.AMD64, PUBLISHED)
    listed.write_bytes(signed(document(jobs=[job_table()])))
    return site


PUBLISHED = Digest.of(signed_bytes(document(jobs=[job_table()])))
"""A second manifest of the SITE, which lists the job of the receipts."""


def claiming(**changes: object) -> bytes:
    """Return a receipt of that manifest, signed by its node, with some claims changed."""
    return sign_receipt(NODE, receipt(booted=booted(manifest=PUBLISHED), **changes))


LIES = {
    "version 999 of a manifest": (
        sign_receipt(NODE, receipt(booted=booted(version=Version.parse("999")))),
        "receipt.wrong-manifest",
    ),
    "another module than its job names": (
        claiming(module=Digest.of(b"another")),
        "receipt.contradicted",
    ),
    "another name than its job has": (claiming(job="other"), "receipt.contradicted"),
    "more fuel than its job has": (claiming(fuel=10_000_001), "receipt.contradicted"),
    "more memory than its job has": (claiming(memory_bytes=1 << 30), "receipt.contradicted"),
    "hours for a job of seconds": (claiming(wall_us=10**10), "receipt.contradicted"),
    "more output than its job may write": (
        claiming(stdout=Output(Digest.of(b"x"), 1 << 20)),
        "receipt.contradicted",
    ),
    "the hash of no bytes for some": (
        claiming(stdout=Output(Digest.of(b""), 3)),
        "receipt.contradicted",
    ),
    "a start long after the manifest expired": (
        claiming(started=datetime(2030, 1, 1, tzinfo=UTC)),
        "receipt.contradicted",
    ),
    "a mode that hands nothing in": (claiming(mode="private"), "receipt.contradicted"),
    "no mode and yet a boot": (claiming(mode="none"), "receipt.contradicted"),
    "a reason for an exit": (claiming(reason="because"), "receipt.contradicted"),
    "fuel for a job that was not run": (
        claiming(outcome=Outcome.NOT_RUN, exit=None),
        "receipt.contradicted",
    ),
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
async def test_a_receipt_with_false_claims_is_refused_and_not_stored(site: Path, lie: str) -> None:
    raw, code = LIES[lie]
    async with running(site) as provider:
        answer = await post(provider.port, "/receipts", raw)
        assert (await ask(provider.port, MANIFEST)).status == 200
    assert answer.status == 422
    assert json.loads(answer.body)["code"] == code
    assert not (site / "receipts").exists()


async def test_a_receipt_without_end(site: Path) -> None:
    head = "POST /receipts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    with_length = f"{head}Content-Length: {MAX_BYTES + 1}\r\n\r\n".encode()
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    without_length = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 4
    async with running(site) as provider:
        for raw in (with_length, without_length):
            assert read_answer(await send(provider.port, raw)).status == 413
        assert (await post(provider.port, "/receipts", GOOD)).status == 201


async def test_a_receipt_that_never_comes(site: Path) -> None:
    head = b"POST /receipts HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n"
    async with running(site, Limits(request_read_seconds=0.2, grace_seconds=1)) as provider:
        assert read_answer(await send(provider.port, head + b"{")).status == 408
        assert (await ask(provider.port, MANIFEST)).status == 200


async def test_receipts_of_invented_nodes_evict_no_honest_one(site: Path) -> None:
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


async def test_a_node_key_that_signs_for_another_architecture_was_copied(site: Path) -> None:
    other = signed_bytes(document(arch="arm64"))
    kept = site / kept_manifest_path("stable", Arch.ARM64, Digest.of(other))
    kept.parent.mkdir(parents=True)
    kept.write_bytes(signed(document(arch="arm64")))
    copied = receipt(arch=Arch.ARM64, booted=booted(manifest=Digest.of(other)))
    async with running(site) as provider:
        assert (await post(provider.port, "/receipts", GOOD)).status == 201
        answer = await post(provider.port, "/receipts", sign_receipt(NODE, copied))
        assert answer.status == 422
        assert json.loads(answer.body)["code"] == "receipt.contradicted"
        theirs = sign_receipt(OTHER_NODE, replace(copied, node=OTHER_NODE.keyid))
        assert (await post(provider.port, "/receipts", theirs)).status == 201
    folder = site / "receipts" / NODE.keyid.removeprefix("ed25519:")
    assert [path.read_bytes() for path in folder.iterdir()] == [GOOD]


def made_up(number: int) -> bytes:
    """Return the receipt of an invented node."""
    key = SigningKey(bytes([number]) * 32)
    return sign_receipt(key, receipt(node=key.keyid))


async def test_invented_nodes_of_some_addresses_do_not_block_another_address(
    site: Path,
) -> None:
    limits = Limits(nodes=12, nodes_per_address=8, grace_seconds=1)
    async with running(site, limits) as provider:

        async def hand_in(raw: bytes, source: str) -> int:
            return (await post(provider.port, "/receipts", raw, source=source)).status

        assert await hand_in(GOOD, "127.0.0.9") == 201
        flood = [await hand_in(made_up(number), "127.0.0.2") for number in range(10)]
        assert flood == [201] * 8 + [507] * 2
        more = [await hand_in(made_up(number), "127.0.0.3") for number in range(20, 30)]
        assert 507 in more
        late = sign_receipt(OTHER_NODE, receipt(node=OTHER_NODE.keyid))
        assert await hand_in(late, "127.0.0.4") == 201
    kept = {path.name for path in (site / "receipts").iterdir() if path.is_dir()}
    assert len(kept) == limits.nodes
    assert {key.keyid.removeprefix("ed25519:") for key in (NODE, OTHER_NODE)} <= kept


def test_receipts_of_unknown_addresses_do_not_keep_a_known_one_out(site: Path) -> None:
    limits = Limits(nodes=4, nodes_per_address=4)
    for number in range(4):
        ReceiptStore(site, limits).add(made_up(number), "192.0.2.66")
    networks = site / "receipts" / NETWORKS
    for torn in (b"", b"[]", b"{", b"[" * 100_000, b" " * (MAX_NETWORKS + 1)):
        networks.write_bytes(torn)
        key = SigningKey(bytes([100 + len(torn) % 50]) * 32)
        ReceiptStore(site, limits).add(sign_receipt(key, receipt(node=key.keyid)), "192.0.2.7")
    assert len([path for path in (site / "receipts").iterdir() if path.is_dir()]) == 4
