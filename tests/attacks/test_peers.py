"""What machines that fetch can try on the provider where they meet, and on one another."""

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
from phase_boot.drill.manifests import ROOTFS
from phase_boot.drill.sites import chunked, site_with_chunks
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.neighbours import CUT, Share
from phase_boot.privsep.peer_channel import PeerChannel, serve_peer_channel
from phase_boot.provider.handlers import RequestHandler
from phase_boot.provider.http_server import ConnectionLimiter, make_server
from phase_boot.provider.limits import Limits
from phase_boot.provider.partial_backend import PartialBackend
from phase_boot.provider.site_backend import SiteBackend
from phase_boot.provider.tracker import MAX_BYTES, BadAnnounce, Tracker
from policies.model import Reach
from tests.fakes.pieces import data_of
from tests.fakes.provider import Answer, ask, connected, post, running

ROOT = str(build_dag(chunked(ROOTFS)).root)
COUNT = piece_count(len(ROOTFS))
HELD = encode_bitfield((1 << COUNT) - 1, COUNT)
DATA = data_of(5 * MIN_PIECE_SIZE + 1000)
DIGEST = Digest.of(DATA)
SHARE = Share(DIGEST, build_dag(chunked(ROOTFS)).root, len(DATA))
CUTS = [*range(0, len(DATA), MIN_PIECE_SIZE), len(DATA)]
PATH = f"/cas/sha256/{DIGEST.hex}"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for path, data in site_with_chunks().files.items():
        file = tmp_path / "site" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "site"


def notice(port: object = 7000, **changes: object) -> dict[str, Any]:
    return {"port": port, "roots": {ROOT: {"have": HELD, "want": 0} | changes}}


def body(said: object) -> bytes:
    return json.dumps(said).encode()


def board_of(site: Path) -> Tracker:
    tracker = Tracker(SiteBackend(site), Limits())
    tracker.refresh(0.0)
    return tracker


async def test_machines_are_told_of_one_another(site: Path) -> None:
    async with running(site) as provider:
        first = await post(provider.port, "/announce", body(notice(7001)))
        second = await post(
            provider.port, "/announce", body(notice(7002, have=encode_bitfield(0, COUNT), want=8))
        )
    assert json.loads(first.body) == {
        "roots": {ROOT: {"assigned": encode_bitfield(0, COUNT), "peers": []}}
    }
    peers = [{"url": "http://127.0.0.1:7001", "have": HELD}]
    assert json.loads(second.body)["roots"][ROOT]["peers"] == peers


def test_whoever_names_another_address_is_told_of_as_the_one_who_calls(site: Path) -> None:
    tracker = board_of(site)
    said = notice() | {"host": "192.0.2.1", "address": "192.0.2.1", "url": "http://192.0.2.1:7000"}
    tracker.announce("10.0.0.66", body(said), 0.0)
    told = tracker.announce("10.0.0.1", body(notice(have=encode_bitfield(0, COUNT))), 0.0)
    assert [peer["url"] for peer in told["roots"][ROOT]["peers"]] == ["http://10.0.0.66:7000"]


def test_nobody_else_is_told_of_who_calls_from_this_machine_itself(site: Path) -> None:
    tracker = board_of(site)
    tracker.announce("127.0.0.1", body(notice()), 0.0)
    told = tracker.announce("10.0.0.1", body(notice(have=encode_bitfield(0, COUNT))), 0.0)
    assert told["roots"][ROOT]["peers"] == []


@pytest.mark.parametrize("address", ["", "name", "fe80::1%eth0", "fe80::1"])
def test_an_address_that_means_nothing_to_others_is_not_told_of(site: Path, address: str) -> None:
    with pytest.raises(BadAnnounce):
        board_of(site).announce(address, body(notice()), 0.0)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 9000,
        b'{"port": ' + b"9" * 5000 + b"}",
        body({}),
        body(notice(80)),
        body(notice(port=True)),
        body(notice(65536)),
        body(notice("7000")),
        body(notice(7000.0)),
        body(notice(have="")),
        body(notice(have=HELD + "0")),
        body(notice(have="g" * len(HELD))),
        body(notice(have=7)),
        body(notice(want=-1)),
        body(notice(want=1 << 70)),
        body({"port": 7000, "roots": {ROOT: []}}),
        body({"port": 7000, "roots": {str(n): {} for n in range(9)}}),
    ],
)
async def test_a_notice_that_is_none_is_refused_and_nobody_told_of_it(
    site: Path, said: bytes
) -> None:
    async with running(site) as provider:
        refused = await post(provider.port, "/announce", said)
        told = await post(provider.port, "/announce", body(notice(have=encode_bitfield(0, COUNT))))
        assert provider.requests[0].error is None
    assert refused.status == 422
    assert json.loads(told.body)["roots"][ROOT]["peers"] == []


async def test_a_notice_without_end_and_other_methods(site: Path) -> None:
    async with running(site) as provider:
        assert (await post(provider.port, "/announce", b" " * (MAX_BYTES + 1))).status == 413
        assert (await ask(provider.port, "/announce")).status == 405
        assert (await ask(provider.port, "/announce/", "GET")).status == 404


def test_a_peer_named_as_failed_is_left_out_for_the_one_that_names_it(site: Path) -> None:
    tracker = board_of(site)
    tracker.announce("10.0.0.9", body(notice(7001)), 0.0)
    wants = {"have": encode_bitfield(0, COUNT), "want": 8}
    failed = json.loads(body(notice(7002, **wants))) | {"failed": ["http://10.0.0.9:7001"]}
    told = tracker.announce("10.0.0.8", body(failed), 0.1)["roots"][ROOT]
    assert told["peers"] == []
    assert told["assigned"] != encode_bitfield(0, COUNT)
    others = tracker.announce("10.0.0.7", body(notice(7003, have=encode_bitfield(0, COUNT))), 0.2)
    assert [peer["url"] for peer in others["roots"][ROOT]["peers"]] == ["http://10.0.0.9:7001"]


def test_a_machine_stops_itself_alone(site: Path) -> None:
    tracker = board_of(site)
    for address in ("10.0.0.9", "10.0.0.8"):
        tracker.announce(address, body(notice(7001)), 0.0)
    stop = body({"port": 7001, "roots": {}, "event": "stopped"})
    assert tracker.announce("10.0.0.8", stop, 0.1) == {"roots": {}}
    told = tracker.announce("10.0.0.7", body(notice(7003, have=encode_bitfield(0, COUNT))), 0.2)
    assert [peer["url"] for peer in told["roots"][ROOT]["peers"]] == ["http://10.0.0.9:7001"]


@pytest.mark.parametrize(
    "failed", ["http://10.0.0.9:7001", 7, ["http://10.0.0.9:7001"] * 17, {"a": 1}], ids=repr
)
def test_failed_peers_that_are_no_short_list_are_refused(site: Path, failed: object) -> None:
    with pytest.raises(BadAnnounce, match="at most 16 peers"):
        board_of(site).announce("10.0.0.8", body(notice() | {"failed": failed}), 0.0)


@pytest.mark.parametrize(
    "url", [None, "", "http://10.0.0.999:7001", "ftp://x", "http://[:::]:7001"]
)
def test_a_failed_peer_that_is_no_peer_is_passed_over(site: Path, url: object) -> None:
    told = board_of(site).announce("10.0.0.8", body(notice() | {"failed": [url]}), 0.0)
    assert ROOT in told["roots"]


def test_what_the_site_does_not_offer_is_nobodys_meeting_place(site: Path) -> None:
    tracker = board_of(site)
    other = str(build_dag(chunked(DATA)).root)
    said = {"port": 7000, "roots": {other: {"have": "0", "want": 1}, "../x": {}, "": []}}
    assert tracker.announce("10.0.0.1", body(said), 0.0) == {"roots": {}}


def test_a_flood_of_notices_fills_no_memory_and_pushes_nobody_out(site: Path) -> None:
    tracker, limits = board_of(site), Limits()
    for port in range(1024, 3024):
        tracker.announce("10.0.0.66", body(notice(port)), 0.0)
    tracker.announce("10.0.0.7", body(notice()), 1.0)
    (swarm,) = tracker._swarms.values()  # noqa: SLF001 - how many it holds is what this is about
    assert len(swarm) == limits.peers_per_address + 1
    late = limits.peer_seconds + 1.1
    told = tracker.announce("10.0.0.8", body(notice(have=encode_bitfield(0, COUNT))), late)
    assert told["roots"][ROOT]["peers"] == []


def test_announcements_from_some_addresses_do_not_keep_another_address_out(site: Path) -> None:
    tracker, limits = board_of(site), Limits()
    for number in range(limits.peers // limits.peers_per_address + 2):
        for port in range(1024, 1024 + limits.peers_per_address):
            tracker.announce(f"10.0.0.{number + 1}", body(notice(port)), 0.0)
    (swarm,) = tracker._swarms.values()  # noqa: SLF001 - how many it holds is what this is about
    assert len(swarm) == limits.peers
    took = tracker.announce("10.0.1.1", body(notice(have=encode_bitfield(0, COUNT), want=8)), 1.0)
    tracker.announce("10.0.1.2", body(notice()), 1.0)
    assert len(swarm) == limits.peers
    told = took["roots"][ROOT]["peers"]
    assert len({peer["url"].rpartition(":")[0] for peer in told}) == limits.max_peers_returned


def test_a_machine_with_two_spellings_of_its_address_is_one(site: Path) -> None:
    tracker = board_of(site)
    tracker.announce("::ffff:10.0.0.7", body(notice()), 0.0)
    told = tracker.announce("10.0.0.8", body(notice(have=encode_bitfield(0, COUNT))), 0.0)
    assert [peer["url"] for peer in told["roots"][ROOT]["peers"]] == ["http://10.0.0.7:7000"]


@contextlib.asynccontextmanager
async def handing_on(tmp_path: Path, held: int, limits: Limits | None = None) -> AsyncIterator[int]:
    """Hand on these stretches of a file; the others hold what nobody verified."""
    file = tmp_path / "partial"
    file.write_bytes(DATA)
    marks = os.memfd_create("marks")
    os.write(marks, array(CUT, CUTS).tobytes() + bytes([held]))
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


async def test_only_what_is_verified_is_handed_on(tmp_path: Path) -> None:
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


async def test_all_of_it_is_handed_on_once_all_is_verified(tmp_path: Path) -> None:
    async with handing_on(tmp_path, 0b111111) as port:
        assert (await ask(port, PATH)).body == DATA
        have = await ask(port, f"/have/{SHARE.root}")
    assert json.loads(have.body) == {"have": encode_bitfield(0b111111, 6)}


async def test_nothing_else_of_the_machine_is_handed_on(tmp_path: Path) -> None:
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
        assert (await post(port, "/announce", body(notice()))).status == 405


async def test_more_connections_than_allowed_are_closed_unheard(tmp_path: Path) -> None:
    limits = Limits(connections=3, grace_seconds=1)
    async with handing_on(tmp_path, 0b111111, limits) as port, contextlib.AsyncExitStack() as open_:
        for _ in range(3):
            await open_.enter_async_context(connected(port))
        await asyncio.sleep(0.1)
        reader, _ = await open_.enter_async_context(connected(port))
        async with asyncio.timeout(5):
            assert await reader.read() == b""


def test_marks_that_are_too_short_are_refused_and_hold_no_descriptor(tmp_path: Path) -> None:
    file = tmp_path / "partial"
    file.write_bytes(DATA)
    before = len(list(Path("/proc/self/fd").iterdir()))
    marks = os.memfd_create("marks")
    os.write(marks, b"short")
    with pytest.raises(ValueError, match="bytes"):
        PartialBackend().share(SHARE, os.open(file, os.O_RDONLY), marks)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Takes:
    """Implements `ports.neighbours.Hand` and answers what it is told to."""

    def __init__(self, answer: bytes = b"", failure: FetchFailed | None = None) -> None:
        self.handle = answer
        self.failure = failure
        self.shared: list[tuple[Share, int, int]] = []

    def share(self, share: Share, file: int, marks: int) -> None:
        self.shared.append((share, file, marks))

    def clear(self) -> None:
        self.shared.clear()

    async def tell(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
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


async def told(neighbours: PeerChannel) -> bytes:
    return await neighbours.tell("http://10.0.0.1/announce", b"x", limit=100, reach=Reach.LAN)


async def test_what_is_shared_can_be_read_there_and_not_written(tmp_path: Path) -> None:
    hand = Takes(b"yes ")
    file = tmp_path / "partial"
    file.write_bytes(DATA)
    with file.open("r+b") as writing:
        async with lending(hand) as neighbours:
            shared = await neighbours.share(SHARE, writing.fileno(), CUTS)
            assert await told(neighbours) == b"yes x"
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
            await neighbours.clear()
            assert hand.shared == []


async def test_the_process_outside_says_too_much_or_nothing_or_ends() -> None:
    async with lending(Takes(b"x" * 200)) as neighbours:
        with pytest.raises(FetchFailed, match="larger"):
            await told(neighbours)
    refused = FetchFailed("it answered HTTP 405", retryable=False)
    async with lending(Takes(failure=refused)) as neighbours:
        with pytest.raises(FetchFailed, match="405") as failed:
            await told(neighbours)
        assert failed.value.retryable is False
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            neighbours = PeerChannel(ours, 7000, reply_seconds=0.2)
            for packet in (b"\0\0\0\7\1none asked", b"\0\0\0\1", b"\0\0\0\1\x63odd"):
                theirs.send(packet)
                with pytest.raises(FetchFailed):
                    await told(neighbours)
            with pytest.raises(FetchFailed, match="hangs"):
                await told(neighbours)
        with pytest.raises(FetchFailed):
            await told(neighbours)
