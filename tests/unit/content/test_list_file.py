"""The list of an artifact's chunks as a file of IPFS: its CID, and a CAR of its blocks."""

from __future__ import annotations

import pytest

from phase_boot.content import car
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import read_chunk_list
from phase_boot.content.list_file import PART, list_car, list_root
from tests.support.downloads import data_of


def leaves_of(blocks: dict[Cid, bytes], root: Cid, size: int) -> bytes:
    """Return the bytes of the file ``root``, put together by the chunks of its DAG."""
    nodes = b"".join(
        car.write(root, ((c, b) for c, b in blocks.items() if c.codec is not Codec.RAW))
    )
    chunks = read_chunk_list(root, size, lambda offset, length: nodes[offset : offset + length])
    by_digest = {bytes.fromhex(cid.digest.hex): block for cid, block in blocks.items()}
    return b"".join(by_digest[chunk.digest] for chunk in chunks)


@pytest.mark.parametrize("size", [PART + 1, 3 * PART, 70 * PART + 5])
def test_the_car_has_the_whole_file_below_its_cid(size: int) -> None:
    data = data_of(size)
    whole = b"".join(list_car(data))
    blocks = dict(car.blocks(whole, limit=len(whole)))
    assert next(iter(blocks)) == list_root(data)
    assert leaves_of(blocks, list_root(data), size) == data


@pytest.mark.parametrize("size", [1, PART])
def test_a_short_list_is_one_raw_block(size: int) -> None:
    data = data_of(size)
    assert list_root(data) == Cid.of(Codec.RAW, data)
    whole = b"".join(list_car(data))
    assert list(car.blocks(whole, limit=len(whole))) == [(list_root(data), data)]


def test_parts_that_are_equal_are_sent_once() -> None:
    data = bytes(3 * PART)
    whole = b"".join(list_car(data))
    assert len(list(car.blocks(whole, limit=len(whole)))) == 2
