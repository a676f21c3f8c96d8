"""kubo's RPC API on loopback as far as blocks go, with faults, and a SITE whose files have DAGs.

It answers as kubo 0.43.1 does: `tests/interop/test_kubo_provide.py` runs the same against kubo.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from phase_boot.content import car, dag_pb
from phase_boot.content.artifact import Artifact
from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import FileDag, build_dag
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL
from phase_boot.store.layout import dag_path, entry_path
from tests.support.announced_site import add_manifest, make_announced_site
from tests.support.record_servers import Handler, RecordServer, only_file, running

API: Final = "/api/v0/"
ROOTFS: Final = random.Random(1).randbytes(150_000) + bytes(200_000)  # noqa: S311 - repeatable
"""Chunks that differ, then some that are the same."""
FILES: Final = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}

Answer = Callable[["BlockHandler"], None]


@cache
def dag_of(name: str) -> FileDag:
    """Return the DAG of a file of the SITE."""
    return build_dag(build_chunk_list(BytesIO(FILES[name]), DEFAULT_PARAMS))


def artifact(name: str) -> Artifact:
    return Artifact(name, Digest.of(FILES[name]), len(FILES[name]))


def make_dag_site(folder: Path) -> Path:
    """Lay out a SITE of one version whose files have DAGs."""
    site = make_announced_site(folder)
    (site / "dag").mkdir()
    for name, data in FILES.items():
        (site / entry_path(Digest.of(data))).write_bytes(data)
        if dag_of(name).root.codec is Codec.DAG_PB:
            (site / dag_path(dag_of(name).root)).write_bytes(b"".join(dag_of(name).car()))
    add_manifest(
        site,
        artifacts={name: str(Digest.of(data)) for name, data in FILES.items()},
        sizes={name: len(data) for name, data in FILES.items()},
        dags={name: str(dag_of(name).root) for name in FILES},
    )
    return site


class BlockHandler(Handler):
    """Stores, pins and provides blocks; other commands are those of records."""

    server: BlockServer

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it so
        command = urlsplit(self.path).path.removeprefix(API)
        run = _COMMANDS.get(command)
        if run is None:
            super().do_POST()
            return
        self.server.commands.append(command)
        instead = self.server.faults.get(command)
        if instead is not None:
            instead(self)
        else:
            run(self)

    @property
    def cid(self) -> Cid:
        (text,) = parse_qs(urlsplit(self.path).query)["arg"]
        return Cid.parse(text)

    def file(self) -> bytes:
        """Return the file of the form, which is sent in chunks."""
        assert self.headers["Transfer-Encoding"] == "chunked"
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            assert self.rfile.readline() == b"\r\n"
        assert self.rfile.readline() == b"\r\n"
        return only_file(self.headers["Content-Type"], bytes(body))

    def answer(self, *events: object) -> None:
        body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        self.send(200, "application/json", body)

    def fail(self, message: str) -> None:
        event = {"Message": message, "Code": 0, "Type": "error"}
        self.send(500, "application/json", json.dumps(event).encode())


def _block_stat(handler: BlockHandler) -> None:
    if handler.cid in handler.server.blocks:
        handler.answer({"Key": str(handler.cid), "Size": 1})
    else:
        handler.fail(f"block was not found locally (offline): ipld: could not find {handler.cid}")


def _dag_stat(handler: BlockHandler) -> None:
    if handler.server.has_dag(handler.cid):
        handler.answer({"UniqueBlocks": 1})
    else:
        handler.fail(f"block was not found locally (offline): ipld: could not find {handler.cid}")


def _pin_ls(handler: BlockHandler) -> None:
    if handler.cid in handler.server.pins:
        handler.answer({"Keys": {str(handler.cid): {"Type": "recursive", "Name": ""}}})
    else:
        handler.fail(f"path '{handler.cid}' is not pinned")


def _block_put(handler: BlockHandler) -> None:
    raw = handler.file()
    cid = Cid.of(Codec.RAW, raw)
    handler.server.blocks[cid] = raw
    assert parse_qs(urlsplit(handler.path).query)["pin"] == ["true"]
    handler.server.pins.add(cid)
    handler.answer({"Key": str(cid), "Size": len(raw)})


def _dag_import(handler: BlockHandler) -> None:
    file = handler.file()
    reader = car.CarReader(limit=len(file))
    reader.feed(file)
    while (block := reader.next_block()) is not None:
        handler.server.blocks[block[0]] = block[1]
    reader.finish()
    assert reader.root is not None
    assert handler.server.has_dag(reader.root)
    handler.server.pins.add(reader.root)
    handler.answer({"Root": {"Cid": {"/": str(reader.root)}, "PinErrorMsg": ""}})


def _provide(handler: BlockHandler) -> None:
    if handler.cid in handler.server.blocks:
        handler.server.provided.append(handler.cid)
        handler.answer()
    else:
        handler.fail(f"block {handler.cid} not found locally, cannot provide")


def _find_providers(handler: BlockHandler) -> None:
    peer: dict[str, object] = {"ID": "12D3KooW", "Addrs": []}
    asked = {"Extra": "", "ID": "12D3KooW", "Responses": [], "Type": 1}
    found = {"Extra": "", "ID": "", "Responses": [peer], "Type": 4}
    handler.answer(asked, *([found] if handler.cid in handler.server.provided else []))


_COMMANDS: Final[dict[str, Answer]] = {
    "block/stat": _block_stat,
    "dag/stat": _dag_stat,
    "pin/ls": _pin_ls,
    "block/put": _block_put,
    "dag/import": _dag_import,
    "routing/provide": _provide,
    "routing/findprovs": _find_providers,
}


class BlockServer(RecordServer):
    """A server that keeps blocks too."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = BlockHandler
        self.blocks: dict[Cid, bytes] = {}
        self.pins: set[Cid] = set()
        self.provided: list[Cid] = []
        self.commands: list[str] = []
        self.faults: dict[str, Answer] = {}
        """How a command is answered instead."""

    def has_dag(self, cid: Cid) -> bool:
        block = self.blocks.get(cid)
        if block is None:
            return False
        return all(self.has_dag(link.cid) for link in dag_pb.read(block, cid.codec).links)


@contextmanager
def block_server() -> Iterator[BlockServer]:
    with BlockServer() as server, running(server):
        yield server


def refuse(handler: BlockHandler) -> None:
    """Read the request and answer with an error."""
    if handler.headers.get("Transfer-Encoding"):
        handler.file()
    handler.fail("disk is \x1b[2J full")


def refuse_unread(handler: BlockHandler) -> None:
    """Answer with an error before the body was read, and close the connection."""
    handler.close_connection = True
    handler.fail("disk is full")


def cut(handler: BlockHandler) -> None:
    """Read a part of the body and close the connection."""
    handler.rfile.read(1000)
    handler.close_connection = True


def swallow(handler: BlockHandler) -> None:
    """Read the body, keep nothing and answer that it was taken."""
    handler.file()
    handler.answer()


def unpinned(handler: BlockHandler) -> None:
    """Read the body, and answer that the root could not be pinned."""
    handler.file()
    handler.answer({"Root": {"Cid": {"/": "bafy"}, "PinErrorMsg": "no space left"}})
