from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content import car, dag_pb
from phase_boot.content.car import BadCar
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import Node

VECTORS = Path(__file__).parents[2] / "vectors/ipld"
CONTENT = bytes((i * i + 7 * i) & 0xFF for i in range(1000))
ROOTS = {
    "raw-leaves": "bafybeicaw35owolmiyeto7snsaefjzafns6vi4j6dhcrqrielc4bjp7fwi",
    "dag-pb-leaves": "bafybeifdwzpy4l4dk3zvqgbhi4nolyqxo7grcq4x6wx6mmu2g5bz3tvpeq",
    "dag-pb-raw-type": "bafybeidu6t7hziwagqris35nzlcmygckjd4mdgjdynqwbzrh75vkhjenim",
    "one-leaf": "bafkreib2mjd77sqi2nl5j2vrxpmdolfl7hqr4vfwmadwa7b5kvdkiiw5k4",
    "one-link": "bafybeidskbp2yf2oizmnj6rvuxqvwx6k27onq6rvqzt22wtxp47buwqeay",
    "empty": "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y",
}
FILES = {**dict.fromkeys(ROOTS, CONTENT), "one-link": bytes((1, 2, 3)), "empty": b""}
LIMIT = 10_000


def vector(name: str) -> bytes:
    return (VECTORS / f"{name}.car").read_bytes()


def content(cid: Cid, nodes: dict[Cid, Node]) -> Iterator[bytes]:
    node = nodes[cid]
    yield node.data
    for link in node.links:
        yield from content(link.cid, nodes)


@pytest.mark.parametrize("name", sorted(ROOTS))
def test_a_car_of_another_implementation_round_trips(name: str) -> None:
    raw = vector(name)
    root = Cid.parse(ROOTS[name])
    found = list(car.blocks(raw, limit=len(raw)))
    nodes = {cid: dag_pb.read(block, cid.codec) for cid, block in found}
    assert b"".join(content(root, nodes)) == FILES[name]
    assert nodes[root].size == len(FILES[name])
    assert all(dag_pb.encode(nodes[cid]) == block for cid, block in found)
    assert b"".join(car.write(root, found)) == raw


def test_cid_version_0_is_refused() -> None:
    with pytest.raises(BadCar, match="header"):
        list(car.blocks(vector("cid-version-0"), limit=LIMIT))


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_blocks_round_trip_in_pieces_of_any_size(leaves: list[bytes], step: int) -> None:
    given_blocks = [(Cid.of(Codec.RAW, leaf), leaf) for leaf in leaves]
    root = Cid.of(Codec.DAG_PB, b"root")
    raw = b"".join(car.write(root, given_blocks))
    reader = car.CarReader(limit=len(raw))
    found = []
    for at in range(0, len(raw), step):
        reader.feed(raw[at : at + step])
        while (block := reader.next_block()) is not None:
            found.append(block)
    reader.finish()
    assert reader.root == root
    assert found == given_blocks
    assert list(car.blocks(BytesIO(raw), limit=len(raw))) == given_blocks


def test_blocks_may_come_in_any_order() -> None:
    leaves = [(Cid.of(Codec.RAW, bytes((n,))), bytes((n,))) for n in range(3)]
    raw = b"".join(car.write(leaves[0][0], reversed(leaves)))
    assert list(car.blocks(raw, limit=LIMIT)) == leaves[::-1]


def test_an_oversized_block_is_not_written() -> None:
    root = Cid.of(Codec.RAW, b"")
    with pytest.raises(BadCar, match="is not bafk"):
        list(car.write(root, [(root, b"other")]))
    large = bytes(dag_pb.MAX_BLOCK + 1)
    with pytest.raises(BadCar, match="larger"):
        list(car.write(root, [(Cid.of(Codec.RAW, large), large)]))
