"""The sockets of a peer server: they listen from the first shared artifact on."""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from pathlib import Path

import pytest

from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.content.pieces import MIN_PIECE_SIZE
from phase_boot.ports.peer_sharing import OFFSET_TYPE, SharedArtifact
from phase_boot.provider.listen import bind
from phase_boot.provider.swarm.peer_server import PeerServer
from policies.model import Reach
from tests.support.descriptors import open_descriptors
from tests.support.downloads import chunked, data_of
from tests.support.provider import ask

DATA = data_of(2 * MIN_PIECE_SIZE)
SHARE = SharedArtifact(Digest.of(DATA), build_dag(chunked(DATA)).root, len(DATA))
PATH = f"/cas/sha256/{SHARE.digest.hex}"


class Silent:
    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        return f"{url} {limit} {reach} ".encode() + body


def share(hand: PeerServer, folder: Path, held: int) -> None:
    (folder / "partial").write_bytes(DATA)
    marks = os.memfd_create("marks")
    os.write(
        marks, array(OFFSET_TYPE, [0, MIN_PIECE_SIZE, 2 * MIN_PIECE_SIZE]).tobytes() + bytes([held])
    )
    hand.share(SHARE, os.open(folder / "partial", os.O_RDONLY), marks)


async def test_connections_are_refused_before_the_first_shared_artifact(tmp_path: Path) -> None:
    sockets = bind(host="127.0.0.1")
    port = sockets[0].getsockname()[1]
    hand = PeerServer(sockets, Silent())
    try:
        with pytest.raises(ConnectionRefusedError):
            await ask(port, PATH)
        share(hand, tmp_path, 0b01)
        first = await ask(port, PATH, Range=f"bytes=0-{MIN_PIECE_SIZE - 1}")
        assert (first.status, first.body) == (206, DATA[:MIN_PIECE_SIZE])
        assert (
            await ask(port, PATH, Range=f"bytes={MIN_PIECE_SIZE}-{MIN_PIECE_SIZE + 9}")
        ).status == 416
    finally:
        await hand.close()
    with pytest.raises(ConnectionRefusedError):
        await ask(port, PATH)


async def test_cleared_files_are_closed_and_no_longer_served(tmp_path: Path) -> None:
    sockets = bind(host="127.0.0.1")
    port = sockets[0].getsockname()[1]
    hand = PeerServer(sockets, Silent())
    hand.clear()
    before = open_descriptors()
    try:
        share(hand, tmp_path, 0b11)
        assert open_descriptors() > before
        hand.clear()
        assert open_descriptors() == before
        assert (await ask(port, PATH)).status == 404
        assert (await ask(port, f"/have/{SHARE.root}")).status == 404
        share(hand, tmp_path, 0b11)
        assert (await ask(port, PATH)).body == DATA
    finally:
        await hand.close()


async def test_a_peer_server_without_connections_leaves_no_task(tmp_path: Path) -> None:
    hand = PeerServer(bind(host="127.0.0.1"), Silent())
    share(hand, tmp_path, 0)
    reply = await hand.post("http://x", b"body", limit=9, reach=Reach.LAN)
    assert reply == b"http://x 9 lan body"
    await hand.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_bound_port_cannot_be_bound_again() -> None:
    (mine,) = bind(host="127.0.0.1")
    with mine, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(mine.getsockname())
