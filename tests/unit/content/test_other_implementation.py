"""A DAG of ours as another IPFS implementation read it (tests/vectors/dag/README.md)."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

from phase_boot.content import car, dag_pb
from phase_boot.content.chunker import ChunkerParams, build_chunk_list
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import Fanout, build_dag

VECTOR = Path(__file__).parents[2] / "vectors/dag/chunked.car"
PRINTED = "7239b473a8701a52beed8794710ddc267c255a764343499f8c5f831886dc8fcc"
"""The sha256 of the file that kubo reads out of the CAR (tests/interop/test_kubo.py)."""
FILE = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(600)) + bytes(900)
CUT = ChunkerParams(
    min_size=64, normal_size=192, max_size=1024, strict_one_in=512, loose_one_in=128
)
FAN = Fanout(min_children=2, one_in=4, max_children=16)


def complete() -> bytes:
    """Return all of the DAG as a CAR: nodes level by level, then chunks."""
    chunks = build_chunk_list(BytesIO(FILE), CUT)
    tree = build_dag(chunks, FAN)
    leaves = {
        Cid.of(Codec.RAW, piece): piece
        for chunk in chunks
        for piece in (FILE[chunk.offset :][: chunk.size],)
    }
    return b"".join(car.write(tree.root, [*tree.nodes, *leaves.items()]))


def test_chunks_and_cids_of_the_vector_are_unchanged() -> None:
    assert complete() == VECTOR.read_bytes()
    assert hashlib.sha256(FILE).hexdigest() == PRINTED


def test_the_vector_reads_as_the_other_implementation_did() -> None:
    blocks = dict(car.blocks(VECTOR.read_bytes(), limit=10**6))

    def read(cid: Cid) -> bytes:
        node = dag_pb.read(blocks[cid], cid.codec)
        return node.data + b"".join(read(link.cid) for link in node.links)

    assert hashlib.sha256(read(next(iter(blocks)))).hexdigest() == PRINTED
