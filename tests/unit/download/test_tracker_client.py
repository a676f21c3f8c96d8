"""Downloads beside peers: the exchange of pieces, and what false trackers and peers can cost."""

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
from phase_boot.download.peer_session import MAX_ACTIVE_PEERS
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

    told: list[dict[str, Any]] = field(default_factory=list)

    def meets(self, answer: Callable[[bytes], bytes]) -> Provider:
        def tracker(raw: bytes) -> bytes:
            self.told.append(json.loads(raw))
            return answer(raw)

        self.tracker = tracker
        return self


def provider(**tracker: Any) -> Provider:
    files = {ENTRY: DATA, f"dag/{TREE.root}.car": car_of(TREE)}
    return Provider(files).meets(FakeTracker(SIZES, **tracker))


@dataclass
class Beside:
    """Downloads beside peers, and what they leave behind."""

    fetcher: FakeFetcher
    reach: Reach = Reach.INTERNET

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
        try:
            fetched, source = await fetch_artifact(
                context, Sources(mirrors=sources, tracker=tracker), ARTIFACT, TREE.root
            )
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


def beside(host: Provider, **others: FakeServer) -> Beside:
    return Beside(FakeFetcher(host=host, **others))


def seconds(it: Beside, *sources: str) -> float:
    """Return the virtual seconds of a download from ``sources``."""

    async def timed() -> float:
        began = asyncio.get_running_loop().time()
        await it.obtaining(*sources)
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
    it = beside(provider(peers=(PEER,), assigned=0b0011), **{"10.0.0.9:7000": server_of(DATA)})
    it.run("http://host")
    assert bytes_asked(it.fetcher, "http://host") <= 2 * MIN_PIECE_SIZE + 4096
    assert it.served()[PEER] >= 2 * MIN_PIECE_SIZE - 4096
    assert [event.source for event in it.download.of(TrackerJoined)] == ["http://host"]


def test_pieces_are_shared_and_announced_during_the_download_and_after() -> None:
    host = provider()
    it = beside(host)
    it.run("http://host", lingering=5.0)
    (shared,) = it.peer_sharing.shared.items()
    assert shared == (
        SharedArtifact(ARTIFACT.digest, TREE.root, len(DATA)),
        FakeShareHandle(bitfield=EVERYTHING),
    )
    assert host.told[-1] == {"port": 7000, "roots": {}, "event": "stopped"}
    said = [told["roots"][str(TREE.root)] for told in host.told[:-1]]
    assert {told["port"] for told in host.told} == {7000}
    assert said[0] == {"have": encode_bitfield(0, COUNT), "want": COUNT}
    assert said[-1] == {"have": encode_bitfield(EVERYTHING, COUNT), "want": 0}
    held = [int(each["have"], 16) for each in said]
    assert len(set(held)) > 2
    assert held == sorted(held)


def test_a_tracker_that_assigns_nothing_is_used_as_a_mirror_after_a_while() -> None:
    it = beside(provider(assigned=0))
    assert it.run("http://host") == "http://host"


def test_a_peer_without_the_pieces_it_is_said_to_have_is_given_up() -> None:
    it = beside(provider(peers=(PEER, OTHER)), **{"10.0.0.9:7000": FakeServer({})})
    it.fetcher.servers[OTHER] = FakeServer({}, hangs=True)
    assert it.run("http://host") == "http://host"
    assert it.reasons()[PEER] == "it does not have it (HTTP 404)"


def test_a_peer_that_sends_wrong_bytes_is_banned_and_costs_one_chunk() -> None:
    liar = server_of(DATA, tamper=lambda _path, data: bytes(len(data)))
    it = beside(provider(peers=(PEER,), assigned=0b0001), **{"10.0.0.9:7000": liar})
    assert it.run("http://host") == "http://host"
    assert it.download.banned == {PEER}
    assert liar.requests[ENTRY] == 1
    assert "another sha256" in it.reasons()[PEER]


@pytest.mark.parametrize(
    "peer", [FakeServer({}, hangs=True), FakeServer({})], ids=["silent", "empty"]
)
def test_a_peer_that_left_is_reported_to_the_tracker_which_assigns_its_pieces(
    peer: FakeServer,
) -> None:
    host = provider()
    host.meets(tracker_of(SIZES))
    it = beside(host, **{"10.0.0.9:7000": peer})
    assert seconds(it, "http://host") < seconds(beside(provider()), "http://host") + 1.0
    assert [PEER] in [told.get("failed") for told in host.told]


def test_a_peer_that_did_not_answer_is_not_used_for_the_next_artifact() -> None:
    small = data_of(2 * MIN_PIECE_SIZE, seed=2)
    tree, artifact = build_dag(chunked(small)), artifact_of(small, "initramfs")
    host = provider(peers=(PEER,))
    host.files |= {entry_path(artifact.digest): small, f"dag/{tree.root}.car": car_of(tree)}
    host.meets(tracker_of({**SIZES, str(tree.root): len(small)}))
    silent = FakeServer({}, hangs=True)
    it = beside(host, **{"10.0.0.9:7000": silent})

    async def both() -> None:
        context = it.download.context()
        sources = Sources(mirrors=("http://host",), tracker=it.tracker())
        try:
            await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            await fetch_artifact(context, sources, artifact, tree.root)
        finally:
            await sources.close()

    virtual_time.run(both())
    started = [each.artifact for each in it.download.of(FetchStarted) if each.source == PEER]
    assert started == [ARTIFACT.name]
    second = [told for told in host.told if str(tree.root) in told["roots"]]
    assert [PEER] in [told["failed"] for told in second]


def test_the_number_of_peers_in_use_is_bounded() -> None:
    names = [f"10.0.1.{number}:7000" for number in range(3 * MAX_ACTIVE_PEERS)]
    crowd = {name: server_of(DATA) for name in names}
    it = beside(provider(peers=tuple(f"http://{name}" for name in names)), **crowd)
    it.run("http://host")
    asked = {event.source for event in it.download.of(FetchStarted)} - {"http://host"}
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
    host = Provider(provider().files).meets(answer)
    it = beside(host)
    assert it.run("http://host") == "http://host"
    assert not it.download.of(PeerSharingFailed)
    assert not it.reasons()


def test_peers_at_addresses_of_local_services_are_ignored() -> None:
    urls = ("http://127.0.0.1:7000", "http://[::1]:7000", "http://10.0.0.9:80", "http://host:7000")
    it = beside(provider(peers=urls))
    it.run("http://host")
    assert {event.source for event in it.download.of(FetchStarted)} == {"http://host"}


def test_a_mirror_that_is_no_tracker_gets_one_announcement() -> None:
    host = provider()
    host.tracker = None
    it = beside(host)
    it.run("http://host", lingering=10.0)
    assert len(it.peer_sharing.announcements) == 1
    assert bytes_asked(it.fetcher, "http://host") >= len(DATA)


def test_a_mirror_on_the_internet_gets_no_announcement() -> None:
    it = Beside(FakeFetcher())
    it.fetcher.servers["https://mirror"] = provider()
    assert it.run("https://mirror") == "https://mirror"
    assert it.peer_sharing.announcements == []


def test_a_tracker_that_never_replies_is_used_as_a_mirror() -> None:
    class Silent(FakePeerSharing):
        async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
            await asyncio.sleep(1e9)
            return await super().post(url, body, limit=limit, reach=reach)

    it = beside(provider())
    it.peer_sharing = Silent(it.fetcher)
    assert seconds(it, "http://host") < seconds(beside(provider()), "http://host") + 1.0
    assert it.download.disk.items(Folder.ENTRIES)


@pytest.mark.parametrize("failure", [FetchFailed("no", retryable=True), OSError("a fault")])
def test_an_artifact_that_cannot_be_shared_is_reported_and_downloaded(failure: Exception) -> None:
    class Broken(FakePeerSharing):
        async def share(
            self, share: SharedArtifact, file: int, piece_offsets: Any
        ) -> FakeShareHandle:
            await super().share(share, file, piece_offsets)
            raise failure

    it = beside(provider())
    it.peer_sharing = Broken(it.fetcher)
    assert it.run("http://host") == "http://host"
    (told,) = it.download.of(PeerSharingFailed)
    assert str(failure) in told.reason
    assert it.peer_sharing.announcements == []


def test_a_run_begins_with_nothing_that_an_earlier_one_still_shares() -> None:
    it = beside(provider())
    it.run("http://host")
    assert it.peer_sharing.shared

    async def again() -> None:
        await Sources(tracker=it.tracker()).open()

    virtual_time.run(again())
    assert it.peer_sharing.shared == {}


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
        said = json.loads(raw)["roots"]
        held = int(said.get(str(tree.root), {"have": "0"})["have"], 16)
        shares[1].assigned = 0b01 if not held else 0b10
        roots = [json.loads(share(raw))["roots"] for share in shares]
        return json.dumps({"roots": roots[0] | roots[1]}).encode()

    host.meets(in_two_parts)
    it = beside(host)
    it.peer_sharing = Slow(it.fetcher)

    async def both() -> float:
        context = it.download.context()
        sources = Sources(mirrors=("http://host",), tracker=it.tracker())
        try:
            await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            told = len(it.peer_sharing.announcements)
            while len(it.peer_sharing.announcements) == told:  # noqa: ASYNC110 - in virtual time
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

    it = beside(Provider(provider().files).meets(fault))
    assert it.run("http://host", lingering=5.0) == "http://host"
    (told,) = it.download.of(PeerSharingFailed)
    assert told.source == "http://host"
    assert "ZeroDivisionError" in told.reason


def test_sharing_that_never_starts_is_reported_and_the_artifact_downloaded() -> None:
    class Deaf(FakePeerSharing):
        async def share(
            self, share: SharedArtifact, file: int, piece_offsets: Any
        ) -> FakeShareHandle:
            await asyncio.sleep(1e9)
            return await super().share(share, file, piece_offsets)

    it = beside(provider())
    it.peer_sharing = Deaf(it.fetcher)
    assert it.run("http://host") == "http://host"
    assert [told.reason for told in it.download.of(PeerSharingFailed)] == [
        "no answer for 5 seconds"
    ]


def test_an_incomplete_artifact_is_not_shared_after_its_download_ends() -> None:
    it = beside(provider())

    async def stopped() -> None:
        async with asyncio.timeout(3.0):
            await it.obtaining("http://host")

    with pytest.raises(TimeoutError):
        virtual_time.run(stopped())
    (shared,) = it.peer_sharing.shared.values()
    assert shared.bitfield == 0


@pytest.fixture(autouse=True)
def no_loose_ends() -> Iterator[None]:
    """A task that was left behind says so when it is collected; warnings are errors."""
    yield
    gc.collect()
