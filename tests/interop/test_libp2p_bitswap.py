"""Blocks by bitswap from real kubo nodes, beside peers with faults."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phase_boot.content import dag_pb
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK
from tests.support.bitswap_peer import Fault, bitswap_peer
from tests.support.downloads import data_of
from tests.support.kubo import KuboNode, kubo_node
from tests.support.libp2p_process import Libp2pProcess, libp2p_process

pytestmark = pytest.mark.interop

FILE = data_of(8 * 1024 * 1024)
ABSENT = Cid.of(Codec.RAW, b"a block that no node has")
AT_ONCE = 32
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    with kubo_node(tmp_path_factory.mktemp("kubo") / "repo") as node:
        yield node


@pytest.fixture(scope="module")
def root(kubo: KuboNode) -> Cid:
    """Store the file in blocks of 64 KiB, and return its CID."""
    options = {"cid_version": "1", "quieter": "true", "chunker": "size-65536"}
    answer = kubo.api("add", file=FILE, **options)
    return Cid.parse(json.loads(answer)["Hash"])


@pytest.fixture
def node() -> Iterator[Libp2pProcess]:
    with libp2p_process() as process:
        yield process


def peer(address: str, nearest: str = "own") -> dict[str, object]:
    """Return a peer as a request names it."""
    where, _, name = address.partition("/p2p/")
    return {"peer": name, "addresses": [where], "nearest": nearest}


def peer_of(kubo: KuboNode, nearest: str = "own") -> dict[str, object]:
    addresses: list[str] = json.loads(kubo.api("id"))["Addresses"]
    return peer(next(each for each in addresses if "/tcp/" in each), nearest)


def request(cid: Cid, *peers: dict[str, object], seconds: float = 30) -> dict[str, Any]:
    return {
        "op": "block",
        "cid": str(cid),
        "limit": MAX_BLOCK,
        "seconds": seconds,
        "peers": peers,
    }


def blocks(node: Libp2pProcess, cids: list[Cid], *peers: dict[str, object]) -> dict[Cid, bytes]:
    """Request blocks, many at the same time, and return them; each must hash to its CID."""
    waiting, names, found = list(cids), dict[int, Cid](), dict[Cid, bytes]()
    while waiting or names:
        while waiting and len(names) < AT_ONCE:
            cid = waiting.pop(0)
            number = len(cids) - len(waiting)
            names[number] = cid
            node.send(id=number, **request(cid, *peers))
        answer = node.receive()
        cid = names[answer["id"]]
        if "block" in answer:
            found[cid] = base64.b64decode(answer["block"])
            assert Cid.of(cid.codec, found[cid]) == cid
        else:
            assert answer["end"] == {}, answer
            del names[answer["id"]]
    return found


def file_of(node: Libp2pProcess, root: Cid, *peers: dict[str, object]) -> bytes:
    """Fetch a file by bitswap alone, one level of its DAG after the other."""
    level = [root]
    while level[0].codec is Codec.DAG_PB:
        found = blocks(node, level, *peers)
        level = [link.cid for cid in level for link in dag_pb.read(found[cid], cid.codec).links]
    found = blocks(node, list(dict.fromkeys(level)), *peers)
    return b"".join(found[cid] for cid in level)


def test_a_file_comes_by_bitswap_alone(kubo: KuboNode, root: Cid, node: Libp2pProcess) -> None:
    assert file_of(node, root, peer_of(kubo)) == FILE


@pytest.mark.parametrize("fault", Fault)
def test_a_peer_with_a_fault_does_not_keep_a_file_away(
    fault: Fault, kubo: KuboNode, root: Cid, node: Libp2pProcess
) -> None:
    with bitswap_peer(fault) as address:
        assert file_of(node, root, peer(address), peer_of(kubo)) == FILE


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.FREEZES, "no other peer sent it in time"),
        (Fault.LACKS, "1 of 1 peers lack it"),
        (Fault.LIES, "it sent a block that was not requested"),
        (Fault.SENDS_TOO_MUCH, "4194304 are permitted"),
        (Fault.LEAVES, "it left"),
    ],
)
def test_a_peer_with_a_fault_alone_is_named(fault: Fault, reason: str, node: Libp2pProcess) -> None:
    with bitswap_peer(fault) as address:
        (answer,) = node.ask(**request(ABSENT, peer(address), seconds=5))
    assert reason in answer["end"]["error"]


def test_a_block_that_no_node_has_ends_with_one_sentence(
    kubo: KuboNode, node: Libp2pProcess
) -> None:
    (answer,) = node.ask(**request(ABSENT, peer_of(kubo)))
    assert answer == {"end": {"error": "1 of 1 peers lack it"}}


def test_addresses_that_are_nearer_than_permitted_are_not_dialled(
    kubo: KuboNode, root: Cid, node: Libp2pProcess
) -> None:
    (answer,) = node.ask(**request(root, peer_of(kubo, nearest="private")))
    assert "it has no address that can be dialled" in answer["end"]["error"]


def test_a_cancelled_request_leaves_the_others_alone(
    kubo: KuboNode, root: Cid, node: Libp2pProcess
) -> None:
    with bitswap_peer(Fault.FREEZES) as address:
        node.send(id=1, **request(ABSENT, peer(address)))
        node.send(id=1, op="cancel")
        assert node.receive() == {"id": 1, "end": {"error": "it was cancelled"}}
    assert file_of(node, root, peer_of(kubo)) == FILE


def test_memory_stays_bounded(kubo: KuboNode, root: Cid, node: Libp2pProcess) -> None:
    assert file_of(node, root, peer_of(kubo)) == FILE
    status = Path("/proc", str(node.process.pid), "status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak * 1024 < 100 * MIB, os.linesep + status
