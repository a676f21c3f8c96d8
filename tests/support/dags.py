"""Files cut at random offsets, and the DAG over their chunks."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.dag_builder import FileDag, build_dag
from phase_boot.content.dag_index import DagIndex


def chunk_list(pieces: Iterable[bytes]) -> ChunkList:
    return ChunkList.of((hashlib.sha256(piece).digest(), len(piece)) for piece in pieces)


def pieces(count: int, seed: int = 1) -> list[bytes]:
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return [dice.randbytes(dice.randint(1, 90)) for _ in range(count)]


def tree_of(count: int, seed: int = 1) -> tuple[FileDag, ChunkList]:
    chunks = chunk_list(pieces(count, seed))
    return build_dag(chunks), chunks


def car_of(tree: FileDag) -> bytes:
    return b"".join(tree.car())


def learn(dag_index: DagIndex, file: bytes) -> int:
    """Feed the needed ranges of a CAR until the index is complete; return the number of bytes."""
    taken = 0
    for _ in range(10_000):
        if dag_index.complete:
            return taken
        for part in dag_index.needed_ranges():
            data = file[part.offset : part.offset + part.length]
            dag_index.feed(part.offset, data)
            taken += len(data)
    raise AssertionError("the index never completes")
