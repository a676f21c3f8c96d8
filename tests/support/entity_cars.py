"""CARs of byte ranges, as a trustless gateway sends them (`dag-scope=entity`, `entity-bytes`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from phase_boot.content import car
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.dag_pb import read
from phase_boot.download.block_client import block_path

Blocks = list[tuple[Cid, bytes]]


@dataclass
class EntityCars:
    """A file whose CARs are made."""

    data: bytes
    chunks: ChunkList

    def __post_init__(self) -> None:
        tree = build_dag(self.chunks)
        self.root = tree.root
        self.blocks: dict[Cid, bytes] = dict(tree.nodes)
        for chunk in self.chunks:
            block = self.data[chunk.offset : chunk.offset + chunk.size]
            self.blocks[Cid.of(Codec.RAW, block)] = block

    def sections(self, first: int, last: int, *, dups: bool = True) -> Blocks:
        """Return the blocks of the bytes ``first`` to ``last``, inclusive, depth first."""
        every = list(self._walk(self.root, 0, first, last))
        return every if dups else list(dict(every).items())

    def car(self, first: int, last: int, *, dups: bool = True) -> bytes:
        """Return the CAR of a range."""
        return b"".join(car.write(self.root, self.sections(first, last, dups=dups)))

    def answer(self, path: str, *, dups: bool = True) -> bytes | None:
        """Return the CAR that the path of a request names; None if it names none."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        span = re.fullmatch(r"([0-9]+):([0-9]+)", query.get("entity-bytes", ""))
        named = parts.path.rpartition("/")[2] == str(self.root)
        if not named or query.get("format") != "car" or span is None:
            return None
        assert (query["dag-scope"], query["car-order"], query["car-dups"]) == ("entity", "dfs", "y")
        return self.car(int(span[1]), int(span[2]), dups=dups)

    def _walk(self, cid: Cid, offset: int, first: int, last: int) -> Iterator[tuple[Cid, bytes]]:
        block = self.blocks[cid]
        yield cid, block
        for link in read(block, cid.codec).links:
            if offset <= last and offset + link.size > first:
                yield from self._walk(link.cid, offset, first, last)
            offset += link.size


class CarFiles(dict[str, bytes]):
    """The paths of a gateway that sends CARs and the nodes above the chunks, and no file."""

    def __init__(self, file: EntityCars, *, dups: bool = True) -> None:
        super().__init__()
        self._file = file
        self._dups = dups
        for cid, block in file.blocks.items():
            if cid.codec is Codec.DAG_PB:
                self[block_path(cid)] = block

    def __contains__(self, path: object) -> bool:
        return super().__contains__(path) or self._car(path) is not None

    def __missing__(self, path: str) -> bytes:
        return self._car(path) or b""

    def _car(self, path: object) -> bytes | None:
        return self._file.answer(str(path), dups=self._dups)
