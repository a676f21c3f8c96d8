from __future__ import annotations

import json
from pathlib import Path

import pytest

from phase_boot.content.digest import Digest
from phase_boot.provider.events import ReceiptKept
from phase_boot.provider.limits import Limits
from phase_boot.provider.receipt_store import ReceiptRejected, ReceiptStore
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.receipt import Receipt, sign_receipt
from tests.support.provider import make_site, post, running, with_history
from tests.support.receipts import NODE, OTHER_NODE, receipt

HEX = NODE.keyid.removeprefix("ed25519:")
GOOD = sign_receipt(NODE, receipt())
HOME = "192.0.2.7"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return with_history(make_site(tmp_path / "site"))


def kept(site: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((site / "receipts").rglob("*/*.json"))]


def of(key: SigningKey, number: int) -> bytes:
    """Return the receipt of a run of this many microseconds."""
    changed: Receipt = receipt(node=key.keyid, wall_us=number)
    return sign_receipt(key, changed)


async def test_a_valid_receipt_is_stored_byte_for_byte_under_its_node(site: Path) -> None:
    async with running(site) as provider:
        answer = await post(provider.port, "/receipts", GOOD)
    name = f"{Digest.of(GOOD).hex}.json"
    assert (answer.status, json.loads(answer.body)) == (201, {"file": name})
    assert (site / "receipts" / HEX / name).read_bytes() == GOOD
    (event,) = [event for event in provider.events if isinstance(event, ReceiptKept)]
    assert (event.node, event.job, event.outcome, event.file) == (
        NODE.keyid,
        "hello",
        "exited",
        name,
    )


async def test_the_same_receipt_twice_is_one(site: Path) -> None:
    async with running(site) as provider:
        answers = [await post(provider.port, "/receipts", GOOD) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 200]
    assert kept(site) == [GOOD]
    assert len([event for event in provider.events if isinstance(event, ReceiptKept)]) == 1


async def test_receipts_are_accepted_and_never_served(site: Path) -> None:
    async with running(site) as provider:
        await post(provider.port, "/receipts", GOOD)
        for path in ("/receipts", "/receipts/", f"/receipts/{HEX}/{Digest.of(GOOD).hex}.json"):
            answer = await post(provider.port, path, b"", method="GET")
            assert answer.status in {404, 405}
            assert HEX.encode() not in answer.body


async def test_a_provider_without_receipts_refuses_them(site: Path) -> None:
    async with running(site, receipts=False) as provider:
        assert (await post(provider.port, "/receipts", GOOD)).status == 405
    assert not (site / "receipts").exists()


def test_only_the_newest_receipts_of_a_node_are_kept(site: Path) -> None:
    receipts = ReceiptStore(site, Limits(receipts_per_node=3))
    for number in range(5):
        receipts.add(of(NODE, number), HOME)
    receipts.add(of(OTHER_NODE, 0), HOME)
    assert set(kept(site)) == {of(NODE, 2), of(NODE, 3), of(NODE, 4), of(OTHER_NODE, 0)}


def test_a_disk_error_is_named_and_leaves_no_partial_file(site: Path) -> None:
    (site / "receipts").write_bytes(b"no folder")
    with pytest.raises(ReceiptRejected, match="check its disk") as refused:
        ReceiptStore(site, Limits()).add(GOOD, HOME)
    assert refused.value.full
    assert (site / "receipts").read_bytes() == b"no folder"
