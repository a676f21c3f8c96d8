"""The list of an artifact's chunks as a file of IPFS.

A mirror has the interior nodes of a DAG as ``dag/<cid>.car``. The same bytes, cut into parts of one
length, are a UnixFS file with a CID of its own, so a gateway sends ranges of them in one request
where it would be asked for each node. The CID only says where they are: what arrives is checked
against the DAG.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from phase_boot.content import car
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import FileDag, build_dag
from phase_boot.content.digest import Digest

PART: Final = 256 * 1024
"""Bytes of each leaf but the last."""


def list_root(nodes: bytes) -> Cid:
    """Return the CID of the file whose bytes are ``nodes``, a CAR of interior nodes."""
    return _dag(nodes).root


def list_car(nodes: bytes) -> Iterator[bytes]:
    """Yield a CAR of all blocks of that file, each once."""
    yield from _dag(nodes).car()
    leaves = {Cid.of(Codec.RAW, part): part for part in _parts(nodes)}
    for cid, part in leaves.items():
        yield car.section_header(cid, len(part)) + part


def _dag(nodes: bytes) -> FileDag:
    parts = ((bytes.fromhex(Digest.of(part).hex), len(part)) for part in _parts(nodes))
    return build_dag(ChunkList.of(parts))


def _parts(nodes: bytes) -> Iterator[bytes]:
    return (nodes[start : start + PART] for start in range(0, len(nodes), PART))
