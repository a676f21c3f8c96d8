"""Attacks of peers on the tracker, and on one another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.content.pieces import MIN_PIECE_SIZE, encode_bitfield, piece_count
from phase_boot.drill.fake_servers import chunked, server_with_chunks
from phase_boot.drill.sample_manifest import ROOTFS
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.peer_sharing import OFFSET_TYPE, SharedArtifact
from phase_boot.privsep.peer_channel import PeerChannel, serve_peer_channel
from phase_boot.provider.backends.partial_backend import PartialBackend
from phase_boot.provider.backends.site_backend import SiteBackend
from phase_boot.provider.http.handlers import RequestHandler
from phase_boot.provider.http.server import ConnectionLimiter, make_server
from phase_boot.provider.limits import Limits
from phase_boot.provider.swarm.tracker import MAX_BYTES, BadAnnounce, Tracker
from policies.model import Reach
from tests.support.descriptors import open_descriptors
from tests.support.downloads import data_of
from tests.support.provider import Answer, ask, connected, post, running

ROOT = str(build_dag(chunked(ROOTFS)).root)
COUNT = piece_count(len(ROOTFS))
HELD = encode_bitfield((1 << COUNT) - 1, COUNT)
DATA = data_of(5 * MIN_PIECE_SIZE + 1000)
DIGEST = Digest.of(DATA)
SHARE = SharedArtifact(DIGEST, build_dag(chunked(ROOTFS)).root, len(DATA))
CUTS = [*range(0, len(DATA), MIN_PIECE_SIZE), len(DATA)]
PATH = f"/cas/sha256/{DIGEST.hex}"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for path, data in server_with_chunks().files.items():
        file = tmp_path / "site" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "site"


def announcement(port: object = 7000, **changes: object) -> dict[str, Any]:
    return {"port": port, "roots": {ROOT: {"have": HELD, "want": 0} | changes}}


def body(payload: object) -> bytes:
    return json.dumps(payload).encode()


def tracker_of(site: Path) -> Tracker:
    tracker = Tracker(SiteBackend(site), Limits())
    tracker.refresh(0.0)
    return tracker


async def test_peers_learn_of_one_another(site: Path) -> None:
    async with running(site) as provider:
        first = await post(provider.port, "/announce", body(announcement(7001)))
        second = await post(
            provider.port,
            "/announce",
            body(announcement(7002, have=encode_bitfield(0, COUNT), want=8)),
        )
    assert json.loads(first.body) == {
        "roots": {ROOT: {"assigned": encode_bitfield(0, COUNT), "peers": []}}
    }
    peers = [{"url": "http://127.0.0.1:7001", "have": HELD}]
    assert json.loads(second.body)["roots"][ROOT]["peers"] == peers


def test_a_peer_is_named_by_its_source_address_whatever_it_claims(site: Path) -> None:
    tracker = tracker_of(site)
    payload = announcement() | {
        "host": "192.0.2.1",
        "address": "192.0.2.1",
        "url": "http://192.0.2.1:7000",
    }
    tracker.announce("10.0.0.66", body(payload), 0.0)
    reply = tracker.announce("10.0.0.1", body(announcement(have=encode_bitfield(0, COUNT))), 0.0)
    assert [peer["url"] for peer in reply["roots"][ROOT]["peers"]] == ["http://10.0.0.66:7000"]


def test_a_loopback_peer_is_named_to_no_other_machine(site: Path) -> None:
    tracker = tracker_of(site)
    tracker.announce("127.0.0.1", body(announcement()), 0.0)
    reply = tracker.announce("10.0.0.1", body(announcement(have=encode_bitfield(0, COUNT))), 0.0)
    assert reply["roots"][ROOT]["peers"] == []


@pytest.mark.parametrize("address", ["", "name", "fe80::1%eth0", "fe80::1"])
def test_a_peer_without_a_routable_address_is_refused(site: Path, address: str) -> None:
    with pytest.raises(BadAnnounce):
        tracker_of(site).announce(address, body(announcement()), 0.0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 9000,
        b'{"port": ' + b"9" * 5000 + b"}",
        body({}),
        body(announcement(80)),
        body(announcement(port=True)),
        body(announcement(65536)),
        body(announcement("7000")),
        body(announcement(7000.0)),
        body(announcement(have="")),
        body(announcement(have=HELD + "0")),
        body(announcement(have="g" * len(HELD))),
        body(announcement(have=7)),
        body(announcement(want=-1)),
        body(announcement(want=1 << 70)),
        body({"port": 7000, "roots": {ROOT: []}}),
        body({"port": 7000, "roots": {str(n): {} for n in range(9)}}),
    ],
)
async def test_an_invalid_announcement_is_refused_and_leaves_no_peer(
    site: Path, payload: bytes
) -> None:
    async with running(site) as provider:
        refused = await post(provider.port, "/announce", payload)
        reply = await post(
            provider.port, "/announce", body(announcement(have=encode_bitfield(0, COUNT)))
        )
        assert provider.requests[0].error is None
    assert refused.status == 422
    assert json.loads(reply.body)["roots"][ROOT]["peers"] == []


async def test_an_endless_announcement_and_other_methods_are_refused(site: Path) -> None:
    async with running(site) as provider:
        assert (await post(provider.port, "/announce", b" " * (MAX_BYTES + 1))).status == 413
        assert (await ask(provider.port, "/announce")).status == 405
        assert (await ask(provider.port, "/announce/", "GET")).status == 404


def test_a_failed_peer_is_left_out_only_for_the_peer_that_names_it(site: Path) -> None:
    tracker = tracker_of(site)
    tracker.announce("10.0.0.9", body(announcement(7001)), 0.0)
    wants = {"have": encode_bitfield(0, COUNT), "want": 8}
    failed = json.loads(body(announcement(7002, **wants))) | {"failed": ["http://10.0.0.9:7001"]}
    reply = tracker.announce("10.0.0.8", body(failed), 0.1)["roots"][ROOT]
    assert reply["peers"] == []
    assert reply["assigned"] != encode_bitfield(0, COUNT)
    others = tracker.announce(
        "10.0.0.7", body(announcement(7003, have=encode_bitfield(0, COUNT))), 0.2
    )
    assert [peer["url"] for peer in others["roots"][ROOT]["peers"]] == ["http://10.0.0.9:7001"]


def test_a_peer_can_stop_only_itself(site: Path) -> None:
    tracker = tracker_of(site)
    for address in ("10.0.0.9", "10.0.0.8"):
        tracker.announce(address, body(announcement(7001)), 0.0)
    stop = body({"port": 7001, "roots": {}, "event": "stopped"})
    assert tracker.announce("10.0.0.8", stop, 0.1) == {"roots": {}}
    reply = tracker.announce(
        "10.0.0.7", body(announcement(7003, have=encode_bitfield(0, COUNT))), 0.2
    )
    assert [peer["url"] for peer in reply["roots"][ROOT]["peers"]] == ["http://10.0.0.9:7001"]


@pytest.mark.parametrize(
    "failed", ["http://10.0.0.9:7001", 7, ["http://10.0.0.9:7001"] * 17, {"a": 1}], ids=repr
)
def test_an_invalid_list_of_failed_peers_is_refused(site: Path, failed: object) -> None:
    with pytest.raises(BadAnnounce, match="at most 16 peers"):
        tracker_of(site).announce("10.0.0.8", body(announcement() | {"failed": failed}), 0.0)


@pytest.mark.parametrize(
    "url", [None, "", "http://10.0.0.999:7001", "ftp://x", "http://[:::]:7001"]
)
def test_an_invalid_url_of_a_failed_peer_is_ignored(site: Path, url: object) -> None:
    reply = tracker_of(site).announce("10.0.0.8", body(announcement() | {"failed": [url]}), 0.0)
    assert ROOT in reply["roots"]


def test_an_artifact_that_the_site_does_not_offer_is_not_tracked(site: Path) -> None:
    tracker = tracker_of(site)
    other = str(build_dag(chunked(DATA)).root)
    payload = {"port": 7000, "roots": {other: {"have": "0", "want": 1}, "../x": {}, "": []}}
    assert tracker.announce("10.0.0.1", body(payload), 0.0) == {"roots": {}}


def test_a_flood_of_announcements_is_bounded_and_evicts_no_other_address(site: Path) -> None:
    tracker, limits = tracker_of(site), Limits()
    for port in range(1024, 3024):
        tracker.announce("10.0.0.66", body(announcement(port)), 0.0)
    tracker.announce("10.0.0.7", body(announcement()), 1.0)
    (swarm,) = tracker._swarms.values()  # noqa: SLF001 - how many it holds is what this is about
    assert len(swarm) == limits.peers_per_address + 1
    late = limits.peer_seconds + 1.1
    reply = tracker.announce("10.0.0.8", body(announcement(have=encode_bitfield(0, COUNT))), late)
    assert reply["roots"][ROOT]["peers"] == []


def test_announcements_from_some_addresses_do_not_keep_another_address_out(site: Path) -> None:
    tracker, limits = tracker_of(site), Limits()
    for number in range(limits.peers // limits.peers_per_address + 2):
        for port in range(1024, 1024 + limits.peers_per_address):
            tracker.announce(f"10.0.0.{number + 1}", body(announcement(port)), 0.0)
    (swarm,) = tracker._swarms.values()  # noqa: SLF001 - how many it holds is what this is about
    assert len(swarm) == limits.peers
    assigned_reply = tracker.announce(
        "10.0.1.1", body(announcement(have=encode_bitfield(0, COUNT), want=8)), 1.0
    )
    tracker.announce("10.0.1.2", body(announcement()), 1.0)
    assert len(swarm) == limits.peers
    reply = assigned_reply["roots"][ROOT]["peers"]
    assert len({peer["url"].rpartition(":")[0] for peer in reply}) == limits.max_peers_returned


def test_an_ipv4_mapped_address_is_the_same_peer(site: Path) -> None:
    tracker = tracker_of(site)
    tracker.announce("::ffff:10.0.0.7", body(announcement()), 0.0)
    reply = tracker.announce("10.0.0.8", body(announcement(have=encode_bitfield(0, COUNT))), 0.0)
    assert [peer["url"] for peer in reply["roots"][ROOT]["peers"]] == ["http://10.0.0.7:7000"]


@contextlib.asynccontextmanager
async def handing_on(tmp_path: Path, held: int, limits: Limits | None = None) -> AsyncIterator[int]:
    """Serve these pieces of a file; the others have unverified bytes."""
    file = tmp_path / "partial"
    file.write_bytes(DATA)
    marks = os.memfd_create("marks")
    os.write(marks, array(OFFSET_TYPE, CUTS).tobytes() + bytes([held]))
    backend, limits = PartialBackend(), limits or Limits(grace_seconds=1)
    backend.share(SHARE, os.open(file, os.O_RDONLY), marks)
    server = make_server(RequestHandler(backend, limits, lambda _: None), limits, lambda _: None)
    listener = await asyncio.get_running_loop().create_server(
        ConnectionLimiter(server, limits), "127.0.0.1", 0
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        server.pre_shutdown()
        await server.shutdown(1)


async def ranged(port: int, first: int, last: int | str, method: str = "GET") -> Answer:
    return await ask(port, PATH, method, Range=f"bytes={first}-{last}")


async def test_only_verified_pieces_are_served(tmp_path: Path) -> None:
    async with handing_on(tmp_path, 0b000110) as port:
        whole = await ranged(port, MIN_PIECE_SIZE, 3 * MIN_PIECE_SIZE - 1)
        assert (whole.status, whole.body) == (206, DATA[MIN_PIECE_SIZE : 3 * MIN_PIECE_SIZE])
        part = await ranged(port, MIN_PIECE_SIZE + 10, MIN_PIECE_SIZE + 19)
        assert (part.status, part.body) == (206, DATA[MIN_PIECE_SIZE + 10 : MIN_PIECE_SIZE + 20])
        beyond: list[tuple[int, int | str]] = [
            (0, 9),
            (MIN_PIECE_SIZE - 1, MIN_PIECE_SIZE),
            (3 * MIN_PIECE_SIZE - 1, 3 * MIN_PIECE_SIZE),
            (MIN_PIECE_SIZE, ""),
            (len(DATA) - 1, len(DATA) - 1),
            (0, len(DATA) - 1),
            (len(DATA), len(DATA) + 5),
            (1 << 60, (1 << 60) + 5),
        ]
        for first, last in beyond:
            for method in ("GET", "HEAD"):
                refused = await ranged(port, first, last, method)
                assert refused.status in {404, 416}
                assert DATA[:10] not in refused.body
        assert (await ask(port, PATH)).status == 404
        assert (await ask(port, PATH, Range="bytes=0-9,20-29")).status == 404


async def test_a_complete_file_is_served_whole(tmp_path: Path) -> None:
    async with handing_on(tmp_path, 0b111111) as port:
        assert (await ask(port, PATH)).body == DATA
        have = await ask(port, f"/have/{SHARE.root}")
    assert json.loads(have.body) == {"have": encode_bitfield(0b111111, 6)}


async def test_a_peer_server_serves_no_other_path(tmp_path: Path) -> None:
    async with handing_on(tmp_path, 0b111111) as port:
        for path in (
            "/cas/sha256/" + "0" * 64,
            f"/cas/sha256/../sha256/{DIGEST.hex}",
            "/stable/amd64/manifest.json",
            f"/have/{ROOT[:-1]}",
            "/have/",
            "/etc/passwd",
            f"/ipfs/{SHARE.root}",
        ):
            assert (await ask(port, path)).status in {400, 404, 406}, path
        assert (await post(port, "/announce", body(announcement()))).status == 405


async def test_connections_over_the_limit_are_closed_unread(tmp_path: Path) -> None:
    limits = Limits(connections=3, grace_seconds=1)
    async with handing_on(tmp_path, 0b111111, limits) as port, contextlib.AsyncExitStack() as open_:
        for _ in range(3):
            await open_.enter_async_context(connected(port))
        await asyncio.sleep(0.1)
        reader, _ = await open_.enter_async_context(connected(port))
        async with asyncio.timeout(5):
            assert await reader.read() == b""


def test_a_bitfield_that_is_too_short_is_refused_and_leaks_no_descriptor(tmp_path: Path) -> None:
    file = tmp_path / "partial"
    file.write_bytes(DATA)
    before = open_descriptors()
    marks = os.memfd_create("marks")
    os.write(marks, b"short")
    with pytest.raises(ValueError, match="bytes"):
        PartialBackend().share(SHARE, os.open(file, os.O_RDONLY), marks)
    assert open_descriptors() == before


class Takes:
    """Implements `ports.peer_sharing.PeerResponder` with a fixed reply."""

    def __init__(self, answer: bytes = b"", failure: FetchFailed | None = None) -> None:
        self.handle = answer
        self.failure = failure
        self.shared: list[tuple[SharedArtifact, int, int]] = []

    def share(self, share: SharedArtifact, file: int, marks: int) -> None:
        self.shared.append((share, file, marks))

    def clear(self) -> None:
        self.shared.clear()

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        assert (url, limit, reach) == ("http://10.0.0.1/announce", 100, Reach.LAN)
        if self.failure is not None:
            raise self.failure
        return self.handle + body


@contextlib.asynccontextmanager
async def lending(hand: Takes) -> AsyncIterator[PeerChannel]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    task = asyncio.create_task(serve_peer_channel(theirs, hand))
    try:
        with ours, theirs:
            yield PeerChannel(ours, 7000, reply_seconds=0.5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        task.cancel()


async def reply(peer_sharing: PeerChannel) -> bytes:
    return await peer_sharing.post("http://10.0.0.1/announce", b"x", limit=100, reach=Reach.LAN)


async def test_shared_descriptors_are_read_only_in_the_worker(tmp_path: Path) -> None:
    hand = Takes(b"yes ")
    file = tmp_path / "partial"
    file.write_bytes(DATA)
    with file.open("r+b") as writing:
        async with lending(hand) as peer_sharing:
            shared = await peer_sharing.share(SHARE, writing.fileno(), CUTS)
            assert await reply(peer_sharing) == b"yes x"
            ((share, got, marks),) = hand.shared
            assert share == SHARE
            for fd in (got, marks):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.pwrite(fd, b"x", 0)
            shared.mark(0b101)
            assert os.pread(marks, 99, len(CUTS) * 8) == bytes([0b101])
            assert os.pread(got, 10, 5) == DATA[5:15]
            os.close(got)
            os.close(marks)
            await peer_sharing.clear()
            assert hand.shared == []


async def test_a_worker_that_floods_hangs_or_exits_fails_the_post() -> None:
    async with lending(Takes(b"x" * 200)) as peer_sharing:
        with pytest.raises(FetchFailed, match="larger"):
            await reply(peer_sharing)
    refused = FetchFailed("it answered HTTP 405", retryable=False)
    async with lending(Takes(failure=refused)) as peer_sharing:
        with pytest.raises(FetchFailed, match="405") as failed:
            await reply(peer_sharing)
        assert failed.value.retryable is False
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            peer_sharing = PeerChannel(ours, 7000, reply_seconds=0.2)
            for packet in (b"\0\0\0\7\1none asked", b"\0\0\0\1", b"\0\0\0\1\x63odd"):
                theirs.send(packet)
                with pytest.raises(FetchFailed):
                    await reply(peer_sharing)
            with pytest.raises(FetchFailed, match="hangs"):
                await reply(peer_sharing)
        with pytest.raises(FetchFailed):
            await reply(peer_sharing)
