"""Downloads with peers: the exchange of pieces, and the cost of false trackers and peers."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from phase_boot.content.dag_builder import build_dag
from phase_boot.content.pieces import MIN_PIECE_SIZE, encode_bitfield, piece_count
from phase_boot.download import Sources, TrackerClient, fetch_artifact
from phase_boot.download.gateway_source import PATIENCE_SECONDS
from phase_boot.download.peer_session import MAX_ACTIVE_PEERS
from phase_boot.download.tracker_client import LIMIT_GRACE_SECONDS
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_peers import FakePeerSharing, FakeShareHandle, FakeTracker
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.journal.content_events import (
    FetchStarted,
    PeerSharingFailed,
    SourceFailed,
    SourceServed,
    TrackerJoined,
)
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.peer_sharing import SharedArtifact
from phase_boot.store.disk import Folder
from phase_boot.store.layout import entry_path
from policies.model import Reach
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.dags import car_of
from tests.support.downloads import FakeDownload, artifact_of, chunked, data_of, server_of

DATA = data_of(4 * MIN_PIECE_SIZE)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(chunked(DATA))
ENTRY = entry_path(ARTIFACT.digest)
COUNT = piece_count(len(DATA))
EVERYTHING = (1 << COUNT) - 1
SIZES = {str(TREE.root): len(DATA)}
PEER = "http://10.0.0.9:7000"
OTHER = "http://10.0.0.8:7000"


@dataclass
class Provider(FakeServer):
    """A provider that is a tracker."""

    announcements: list[dict[str, Any]] = field(default_factory=list)

    def with_tracker(self, answer: Callable[[bytes], bytes]) -> Provider:
        def tracker(raw: bytes) -> bytes:
            self.announcements.append(json.loads(raw))
            return answer(raw)

        self.tracker = tracker
        return self


def provider(**tracker: Any) -> Provider:
    files = {ENTRY: DATA, f"dag/{TREE.root}.car": car_of(TREE)}
    return Provider(files).with_tracker(FakeTracker(SIZES, **tracker))


@dataclass
class PeerDownload:
    """Downloads with peers, and what they leave behind."""

    fetcher: FakeFetcher
    reach: Reach = Reach.INTERNET
    gateways: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.peer_sharing = FakePeerSharing(self.fetcher)
        self.download = FakeDownload(self.fetcher)

    def tracker(self) -> TrackerClient:
        return TrackerClient(
            self.peer_sharing,
            clock=self.download.context().clock,
            reach=self.reach,
            emit=self.download.events.append,
        )

    async def obtaining(self, *sources: str, lingering: float = 0.0) -> str:
        context, tracker = self.download.context(), self.tracker()
        known = Sources(mirrors=sources, gateways=self.gateways, tracker=tracker)
        try:
            fetched, source = await fetch_artifact(context, known, ARTIFACT, TREE.root)
            assert content(fetched) == DATA
            await asyncio.sleep(lingering)
        finally:
            await tracker.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return source

    def run(self, *sources: str, lingering: float = 0.0) -> str:
        source = virtual_time.run(self.obtaining(*sources, lingering=lingering))
        assert_every_entry_is_what_it_is_called(self.download.disk)
        assert not self.download.disk.items(Folder.PARTIALS)
        return source

    def served(self) -> dict[str, int]:
        return {event.source: event.bytes for event in self.download.of(SourceServed)}

    def reasons(self) -> dict[str, str]:
        return {event.source: event.reason for event in self.download.of(SourceFailed)}


def peer_download(host: Provider, **others: FakeServer) -> PeerDownload:
    return PeerDownload(FakeFetcher(host=host, **others))


def seconds(client: PeerDownload, *sources: str) -> float:
    """Return the virtual seconds of a download from ``sources``."""

    async def timed() -> float:
        began = asyncio.get_running_loop().time()
        await client.obtaining(*sources)
        return asyncio.get_running_loop().time() - began

    return virtual_time.run(timed())


def tracker_of(sizes: dict[str, int]) -> Callable[[bytes], bytes]:
    """Return a tracker whose peer has every piece, unless it is reported as failed."""

    def tracker(raw: bytes) -> bytes:
        failed = PEER in json.loads(raw).get("failed", [])
        return (FakeTracker(sizes) if failed else FakeTracker(sizes, peers=(PEER,), assigned=0))(
            raw
        )

    return tracker


def bytes_asked(fetcher: FakeFetcher, base: str) -> int:
    return sum(length for url, _, length in fetcher.spans if url == f"{base}/{ENTRY}")


def test_assigned_pieces_come_from_the_tracker_and_the_others_from_peers() -> None:
    client = peer_download(
        provider(peers=(PEER,), assigned=0b0011), **{"10.0.0.9:7000": server_of(DATA)}
    )
    client.run("http://host")
    assert bytes_asked(client.fetcher, "http://host") <= 2 * MIN_PIECE_SIZE + 4096
    assert client.served()[PEER] >= 2 * MIN_PIECE_SIZE - 4096
    assert [event.source for event in client.download.of(TrackerJoined)] == ["http://host"]


def test_pieces_are_shared_and_announced_during_the_download_and_after() -> None:
    host = provider()
    client = peer_download(host)
    client.run("http://host", lingering=5.0)
    (shared,) = client.peer_sharing.shared.items()
    assert shared == (
        SharedArtifact(ARTIFACT.digest, TREE.root, len(DATA)),
        FakeShareHandle(bitfield=EVERYTHING),
    )
    assert host.announcements[-1] == {"port": 7000, "roots": {}, "event": "stopped"}
    bitfields = [each["roots"][str(TREE.root)] for each in host.announcements[:-1]]
    assert {each["port"] for each in host.announcements} == {7000}
    assert bitfields[0] == {"have": encode_bitfield(0, COUNT), "want": COUNT}
    assert bitfields[-1] == {"have": encode_bitfield(EVERYTHING, COUNT), "want": 0}
    held = [int(each["have"], 16) for each in bitfields]
    assert len(set(held)) > 2
    assert held == sorted(held)


def test_a_tracker_that_assigns_nothing_is_used_as_a_mirror_after_a_while() -> None:
    client = peer_download(provider(assigned=0))
    assert client.run("http://host") == "http://host"


class LatePeerSharing(FakePeerSharing):
    """Gets each reply after a while, within the time for which a provider is not asked."""

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        await asyncio.sleep(LIMIT_GRACE_SECONDS / 2)
        return await super().post(url, body, limit=limit, reach=reach)


def beside_a_gateway(host: Provider) -> tuple[PeerDownload, FakeServer]:
    """Return a download from a provider, and the gateway beside it, which has the file."""
    gate = FakeServer({f"ipfs/{TREE.root}": DATA}, piece_seconds=0.0001)
    host.piece_seconds = 0.0001
    fetcher = FakeFetcher(host=host, gate=gate)
    return PeerDownload(fetcher, gateways=("http://gate",)), gate


def test_a_gateway_does_not_wait_for_a_tracker_that_assigns_nothing() -> None:
    client, gate = beside_a_gateway(provider(assigned=0))
    assert seconds(client, "http://host") < PATIENCE_SECONDS / 2
    assert gate.requests


def test_a_gateway_waits_for_the_first_reply_of_a_tracker() -> None:
    client, gate = beside_a_gateway(provider())
    client.peer_sharing = LatePeerSharing(client.fetcher)
    assert client.run("http://host") == "http://host"
    assert not gate.requests


def test_a_gateway_waits_between_the_replies_of_a_tracker_that_assigns_in_batches() -> None:
    def in_batches(raw: bytes) -> bytes:
        (announced,) = json.loads(raw)["roots"].values()
        held = int(announced["have"], 16).bit_count()
        return FakeTracker(SIZES, assigned=EVERYTHING if held else 0b1)(raw)

    host = provider().with_tracker(in_batches)
    client, gate = beside_a_gateway(host)
    assert client.run("http://host") == "http://host"
    assert len(host.announcements) > 2
    assert not gate.requests


def test_a_peer_without_its_announced_pieces_is_given_up() -> None:
    client = peer_download(provider(peers=(PEER, OTHER)), **{"10.0.0.9:7000": FakeServer({})})
    client.fetcher.servers[OTHER] = FakeServer({}, hangs=True)
    assert client.run("http://host") == "http://host"
    assert client.reasons()[PEER] == "it does not have it (HTTP 404)"


def test_a_peer_that_sends_wrong_bytes_is_banned_and_costs_one_chunk() -> None:
    liar = server_of(DATA, tamper=lambda _path, data: bytes(len(data)))
    client = peer_download(provider(peers=(PEER,), assigned=0b0001), **{"10.0.0.9:7000": liar})
    assert client.run("http://host") == "http://host"
    assert client.download.banned == {PEER}
    assert liar.requests[ENTRY] == 1
    assert "another sha256" in client.reasons()[PEER]


@pytest.mark.parametrize(
    "peer", [FakeServer({}, hangs=True), FakeServer({})], ids=["silent", "empty"]
)
def test_a_peer_that_left_is_reported_to_the_tracker_which_assigns_its_pieces(
    peer: FakeServer,
) -> None:
    host = provider()
    host.with_tracker(tracker_of(SIZES))
    client = peer_download(host, **{"10.0.0.9:7000": peer})
    assert seconds(client, "http://host") < seconds(peer_download(provider()), "http://host") + 1.0
    assert [PEER] in [each.get("failed") for each in host.announcements]


def test_a_peer_that_did_not_answer_is_not_used_for_the_next_artifact() -> None:
    small = data_of(2 * MIN_PIECE_SIZE, seed=2)
    tree, artifact = build_dag(chunked(small)), artifact_of(small, "initramfs")
    host = provider(peers=(PEER,))
    host.files |= {entry_path(artifact.digest): small, f"dag/{tree.root}.car": car_of(tree)}
    host.with_tracker(tracker_of({**SIZES, str(tree.root): len(small)}))
    silent = FakeServer({}, hangs=True)
    client = peer_download(host, **{"10.0.0.9:7000": silent})

    async def both() -> None:
        context = client.download.context()
        sources = Sources(mirrors=("http://host",), tracker=client.tracker())
        try:
            await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            await fetch_artifact(context, sources, artifact, tree.root)
        finally:
            await sources.close()

    virtual_time.run(both())
    started = [each.artifact for each in client.download.of(FetchStarted) if each.source == PEER]
    assert started == [ARTIFACT.name]
    second = [each for each in host.announcements if str(tree.root) in each["roots"]]
    assert [PEER] in [each["failed"] for each in second]


def test_the_number_of_peers_in_use_is_bounded() -> None:
    names = [f"10.0.1.{number}:7000" for number in range(3 * MAX_ACTIVE_PEERS)]
    crowd = {name: server_of(DATA) for name in names}
    client = peer_download(provider(peers=tuple(f"http://{name}" for name in names)), **crowd)
    client.run("http://host")
    asked = {event.source for event in client.download.of(FetchStarted)} - {"http://host"}
    assert len(asked) <= MAX_ACTIVE_PEERS


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b"[" * 100_000,
        lambda _: b'{"roots": []}',
        lambda _: json.dumps({"roots": {str(TREE.root): {}}}).encode(),
        lambda _: json.dumps({"roots": {str(TREE.root): {"assigned": "zz", "peers": []}}}).encode(),
        lambda _: json.dumps({"roots": {}}).encode(),
        lambda _: b"x" * 1_000_000,
    ],
)
def test_a_tracker_with_malformed_replies_is_used_as_a_mirror(answer: Any) -> None:
    host = Provider(provider().files).with_tracker(answer)
    client = peer_download(host)
    assert client.run("http://host") == "http://host"
    assert not client.download.of(PeerSharingFailed)
    assert not client.reasons()


def test_peers_at_addresses_of_local_services_are_ignored() -> None:
    urls = ("http://127.0.0.1:7000", "http://[::1]:7000", "http://10.0.0.9:80", "http://host:7000")
    client = peer_download(provider(peers=urls))
    client.run("http://host")
    assert {event.source for event in client.download.of(FetchStarted)} == {"http://host"}


def test_a_mirror_that_is_no_tracker_gets_one_announcement() -> None:
    host = provider()
    host.tracker = None
    client = peer_download(host)
    client.run("http://host", lingering=10.0)
    assert len(client.peer_sharing.announcements) == 1
    assert bytes_asked(client.fetcher, "http://host") >= len(DATA)


def test_a_mirror_on_the_internet_gets_no_announcement() -> None:
    client = PeerDownload(FakeFetcher())
    client.fetcher.servers["https://mirror"] = provider()
    assert client.run("https://mirror") == "https://mirror"
    assert client.peer_sharing.announcements == []


def test_a_tracker_that_never_replies_is_used_as_a_mirror() -> None:
    class Silent(FakePeerSharing):
        async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
            await asyncio.sleep(1e9)
            return await super().post(url, body, limit=limit, reach=reach)

    client = peer_download(provider())
    client.peer_sharing = Silent(client.fetcher)
    assert seconds(client, "http://host") < seconds(peer_download(provider()), "http://host") + 1.0
    assert client.download.disk.items(Folder.ENTRIES)


@pytest.mark.parametrize("failure", [FetchFailed("no", retryable=True), OSError("a fault")])
def test_an_artifact_that_cannot_be_shared_is_reported_and_downloaded(failure: Exception) -> None:
    class Broken(FakePeerSharing):
        async def share(
            self, share: SharedArtifact, file: int, piece_offsets: Any
        ) -> FakeShareHandle:
            await super().share(share, file, piece_offsets)
            raise failure

    client = peer_download(provider())
    client.peer_sharing = Broken(client.fetcher)
    assert client.run("http://host") == "http://host"
    (event,) = client.download.of(PeerSharingFailed)
    assert str(failure) in event.reason
    assert client.peer_sharing.announcements == []


def test_a_run_begins_with_nothing_that_an_earlier_one_still_shares() -> None:
    client = peer_download(provider())
    client.run("http://host")
    assert client.peer_sharing.shared

    async def again() -> None:
        await Sources(tracker=client.tracker()).open()

    virtual_time.run(again())
    assert client.peer_sharing.shared == {}


def test_a_session_that_joins_during_an_announcement_is_announced_right_after_it() -> None:
    class Slow(FakePeerSharing):
        async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
            await asyncio.sleep(1.0)
            return await super().post(url, body, limit=limit, reach=reach)

    small = data_of(2 * MIN_PIECE_SIZE, seed=2)
    tree, artifact = build_dag(chunked(small)), artifact_of(small, "initramfs")
    host = provider()
    host.files |= {entry_path(artifact.digest): small, f"dag/{tree.root}.car": car_of(tree)}
    host.piece_seconds = 0.0005
    shares = FakeTracker(SIZES, assigned=-1), FakeTracker({str(tree.root): len(small)})

    def in_two_parts(raw: bytes) -> bytes:
        roots = json.loads(raw)["roots"]
        held = int(roots.get(str(tree.root), {"have": "0"})["have"], 16)
        shares[1].assigned = 0b01 if not held else 0b10
        roots = [json.loads(share(raw))["roots"] for share in shares]
        return json.dumps({"roots": roots[0] | roots[1]}).encode()

    host.with_tracker(in_two_parts)
    client = peer_download(host)
    client.peer_sharing = Slow(client.fetcher)

    async def both() -> float:
        context = client.download.context()
        sources = Sources(mirrors=("http://host",), tracker=client.tracker())
        try:
            await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            before = len(client.peer_sharing.announcements)
            while len(client.peer_sharing.announcements) == before:  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(0.1)
            # Nothing comes any more, so the next turn is a long time away.
            await asyncio.sleep(3.5)
            began = context.clock.monotonic()
            await fetch_artifact(context, sources, artifact, tree.root)
            return context.clock.monotonic() - began
        finally:
            await sources.close()

    # One exchange that was under way, one of its own, one for the rest, and the bytes.
    assert virtual_time.run(both()) < 2.7


def test_a_fault_during_an_announcement_is_reported_once_and_stops_nothing() -> None:
    def fault(_: bytes) -> bytes:
        raise ZeroDivisionError("a fault of ours")

    client = peer_download(Provider(provider().files).with_tracker(fault))
    assert client.run("http://host", lingering=5.0) == "http://host"
    (event,) = client.download.of(PeerSharingFailed)
    assert event.source == "http://host"
    assert "ZeroDivisionError" in event.reason


def test_sharing_that_never_starts_is_reported_and_the_artifact_downloaded() -> None:
    class Deaf(FakePeerSharing):
        async def share(
            self, share: SharedArtifact, file: int, piece_offsets: Any
        ) -> FakeShareHandle:
            await asyncio.sleep(1e9)
            return await super().share(share, file, piece_offsets)

    client = peer_download(provider())
    client.peer_sharing = Deaf(client.fetcher)
    assert client.run("http://host") == "http://host"
    assert [event.reason for event in client.download.of(PeerSharingFailed)] == [
        "no answer for 5 seconds"
    ]


def test_an_incomplete_artifact_is_not_shared_after_its_download_ends() -> None:
    client = peer_download(provider())

    async def stopped() -> None:
        async with asyncio.timeout(3.0):
            await client.obtaining("http://host")

    with pytest.raises(TimeoutError):
        virtual_time.run(stopped())
    (shared,) = client.peer_sharing.shared.values()
    assert shared.bitfield == 0


def test_an_end_that_is_cancelled_leaves_no_announcement_behind() -> None:
    stopping = asyncio.Event()

    class SilentAtTheEnd(FakePeerSharing):
        async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
            if b"stopped" in body:
                stopping.set()
                await asyncio.sleep(1e9)
            return await super().post(url, body, limit=limit, reach=reach)

    client = peer_download(provider())
    client.peer_sharing = SilentAtTheEnd(client.fetcher)

    async def stopped() -> set[asyncio.Task[Any]]:
        before = asyncio.all_tasks()
        ending = asyncio.create_task(client.obtaining("http://host"))
        await stopping.wait()
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        return asyncio.all_tasks() - before

    assert virtual_time.run(stopped()) == set()


@pytest.fixture(autouse=True)
def no_leftover_tasks() -> Iterator[None]:
    """A pending task warns when it is collected; warnings are errors."""
    yield
    gc.collect()
