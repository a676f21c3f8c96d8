"""The want-list: which peer is asked for which block, and what happens when it does not deliver."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.cid import Cid, Codec
from phase_boot.libp2p_node.bitswap_message import Received
from phase_boot.libp2p_node.bitswap_session import (
    MAX_IDLE_MESSAGES,
    MAX_OPEN_BYTES,
    MAX_PEERS,
    MAX_QUEUE,
    MAX_WINDOW,
    REDIAL_SECONDS,
    REST_SECONDS,
    SILENT_SECONDS,
    WantList,
)
from phase_boot.libp2p_node.bitswap_state import FIRST_WINDOW, Outcome, Request, Update

ONE, OTHER = "one", "other"
BLOCKS = [bytes([number]) * 100 for number in range(200)]
CIDS = [Cid.of(Codec.RAW, block) for block in BLOCKS]


class Session:
    """A want-list with connected peers, and what it told each of them."""

    def __init__(self, *peers: str) -> None:
        self.wants = WantList()
        self.now = 0.0
        self.peers = peers
        self.told: dict[str, list[Cid]] = {peer: [] for peer in peers}
        self.cancelled: dict[str, list[Cid]] = {peer: [] for peer in peers}
        self.outcomes: list[Outcome] = []

    def request(self, *numbers: int, seconds: float = 60, limit: int = 1000) -> None:
        for number in numbers:
            self.wants.request(
                Request(
                    key=number,
                    cid=CIDS[number],
                    limit=limit,
                    peers=self.peers,
                    until=self.now + seconds,
                ),
                self.now,
            )
        for peer in self.peers:
            self.wants.connected(peer, self.now)
        self.step()

    def step(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.outcomes += self.wants.expire(self.now)
        for peer, update in self.wants.updates(self.now):
            self.told[peer] += update.wanted
            self.cancelled[peer] += update.cancelled

    def send(self, peer: str, *blocks: bytes, absent: Iterable[Cid] = ()) -> None:
        received = Received(tuple((Codec.RAW, block) for block in blocks), tuple(absent))
        self.outcomes += self.wants.receive(peer, received, self.now)
        self.step()

    def serve(self, peer: str) -> None:
        """Let a peer send all that it was asked for."""
        while self.told[peer]:
            cid = self.told[peer].pop(0)
            if cid not in self.cancelled[peer]:
                self.send(peer, BLOCKS[CIDS.index(cid)])


def test_a_block_ends_every_request_for_it() -> None:
    session = Session(ONE)
    session.request(0)
    session.wants.request(Request(key=7, cid=CIDS[0], limit=1000, peers=(ONE,), until=9), 0)
    session.step()
    session.send(ONE, BLOCKS[0])
    assert session.outcomes == [
        Outcome(0, block=BLOCKS[0], peer=ONE),
        Outcome(7, block=BLOCKS[0], peer=ONE),
    ]
    assert session.told == {ONE: [CIDS[0]]}
    assert session.cancelled == {ONE: []}
    assert len(session.wants) == 0
    assert session.wants.next_deadline() is None


def test_a_peer_gets_few_wants_at_first_and_more_as_it_delivers() -> None:
    session = Session(ONE)
    session.request(*range(200))
    assert len(session.told[ONE]) == FIRST_WINDOW
    session.serve(ONE)
    assert len(session.outcomes) == 200
    session.request(*range(200))
    assert len(session.told[ONE]) == MAX_WINDOW


def test_the_wants_of_a_silent_peer_are_withdrawn_and_given_to_another() -> None:
    session = Session(ONE, OTHER)
    session.request(0, 1)
    assert (session.told[ONE], session.told[OTHER]) == ([CIDS[0]], [CIDS[1]])
    session.send(OTHER, BLOCKS[1])
    session.step(SILENT_SECONDS)
    assert session.cancelled[ONE] == [CIDS[0]]
    assert session.told[OTHER][-1] == CIDS[0]
    session.send(OTHER, BLOCKS[0])
    assert {outcome.key for outcome in session.outcomes} == {0, 1}


def test_a_silent_peer_gets_no_want_while_another_one_delivers() -> None:
    session = Session(ONE, OTHER)
    session.request(*range(2 * FIRST_WINDOW))
    session.serve(OTHER)
    session.step(SILENT_SECONDS)
    session.serve(OTHER)
    assert len(session.outcomes) == 2 * FIRST_WINDOW
    told = len(session.told[ONE])
    session.request(*range(100, 150))
    session.serve(OTHER)
    assert len(session.told[ONE]) == told
    session.step(REST_SECONDS)
    session.request(*range(150, 190))
    assert len(session.told[ONE]) == told + 1


def test_a_silent_peer_that_is_the_only_one_keeps_its_wants() -> None:
    session = Session(ONE)
    session.request(0)
    session.step(SILENT_SECONDS * 3)
    assert session.cancelled == {ONE: []}
    session.send(ONE, BLOCKS[0])
    assert session.outcomes == [Outcome(0, block=BLOCKS[0], peer=ONE)]


def test_a_block_that_comes_after_its_want_was_withdrawn_counts() -> None:
    session = Session(ONE, OTHER)
    session.request(0)
    session.step(SILENT_SECONDS)
    assert session.told[OTHER] == [CIDS[0]]
    session.send(ONE, BLOCKS[0])
    assert session.outcomes == [Outcome(0, block=BLOCKS[0], peer=ONE)]
    assert session.cancelled[OTHER] == [CIDS[0]]
    session.send(OTHER, BLOCKS[0])
    assert session.wants.liars == ()


def test_a_peer_that_lacks_a_block_is_not_asked_for_it_again() -> None:
    session = Session(ONE, OTHER)
    session.request(0)
    session.send(ONE, absent=[CIDS[0]])
    assert session.told[OTHER] == [CIDS[0]]
    session.step(SILENT_SECONDS)
    assert session.told[ONE] == [CIDS[0]]
    session.send(OTHER, BLOCKS[0])
    assert session.outcomes == [Outcome(0, block=BLOCKS[0], peer=OTHER)]


def test_a_block_that_no_peer_has_ends_at_once() -> None:
    session = Session(ONE, OTHER)
    session.request(0)
    session.send(ONE, absent=[CIDS[0]])
    session.send(OTHER, absent=[CIDS[0]])
    assert session.outcomes == [Outcome(0, reason="2 of 2 peers lack it")]
    assert len(session.wants) == 0


def test_a_request_without_peers_ends_at_once() -> None:
    session = Session()
    session.request(0)
    assert session.outcomes == [Outcome(0, reason="no peer is known that may have the block")]


def test_a_request_ends_with_its_time() -> None:
    session = Session(ONE)
    session.request(0, seconds=30)
    session.step(30)
    assert session.outcomes == [Outcome(0, reason="no other peer sent it in time")]
    assert session.cancelled[ONE] == [CIDS[0]]
    assert session.wants.next_deadline() is None


def test_the_wants_of_a_lost_peer_go_to_another() -> None:
    session = Session(ONE, OTHER)
    session.request(0)
    session.wants.lost(ONE, "one: it left", session.now)
    session.step()
    assert session.told[OTHER] == [CIDS[0]]
    session.wants.lost(OTHER, "other: it left", session.now)
    session.step()
    assert session.outcomes == [Outcome(0, reason="one: it left; other: it left")]


def test_a_lost_peer_is_connected_with_again_after_a_pause() -> None:
    session = Session(ONE)
    session.request(0)
    session.wants.lost(ONE, "it left", 0)
    request = Request(key=9, cid=CIDS[1], limit=9, peers=(ONE,), until=99)
    assert session.wants.request(request, REDIAL_SECONDS / 2) == ()
    session.wants.cancel(9)
    assert session.wants.request(request, REDIAL_SECONDS) == (ONE,)


def test_a_peer_that_sends_what_was_not_requested_is_asked_no_more() -> None:
    session = Session(ONE, OTHER)
    session.request(0, 1)
    session.send(ONE, b"a lie")
    assert session.wants.liars == (ONE,)
    assert session.told[OTHER] == [CIDS[1], CIDS[0]]
    session.send(ONE, BLOCKS[0])
    assert session.outcomes == []
    session.serve(OTHER)
    session.now += 10 * REDIAL_SECONDS
    session.request(2)
    assert CIDS[2] in session.told[OTHER]
    assert CIDS[2] not in session.told[ONE]


def test_a_block_that_comes_twice_counts_once_and_not_without_end() -> None:
    session = Session(ONE)
    session.request(0, 1)
    session.send(ONE, BLOCKS[0], BLOCKS[0])
    assert not session.wants.liars
    assert [outcome.key for outcome in session.outcomes] == [0]
    for _ in range(MAX_IDLE_MESSAGES + 1):
        session.send(ONE, BLOCKS[0])
    assert session.wants.liars == (ONE,)


def test_a_block_that_was_withdrawn_and_wanted_again_may_come_twice() -> None:
    session = Session(ONE)
    session.request(0)
    session.wants.cancel(0)
    session.step()
    session.request(0)
    session.send(ONE, BLOCKS[0])
    session.send(ONE, BLOCKS[0])
    assert session.wants.liars == ()
    assert [outcome.key for outcome in session.outcomes] == [0]


def test_a_block_under_another_codec_is_a_lie() -> None:
    session = Session(ONE)
    session.request(0)
    session.wants.receive(ONE, Received(((Codec.DAG_PB, BLOCKS[0]),)), 0)
    assert session.wants.liars == (ONE,)


def test_messages_without_a_block_do_not_come_without_end() -> None:
    session = Session(ONE)
    session.request(0)
    for _ in range(MAX_IDLE_MESSAGES + 1):
        session.send(ONE, absent=[CIDS[5]])
    assert session.wants.liars == (ONE,)


def test_a_block_that_is_larger_than_its_limit_is_refused() -> None:
    session = Session(ONE)
    session.request(0, limit=99)
    session.send(ONE, BLOCKS[0])
    assert session.outcomes == [Outcome(0, reason="the block has more than 99 bytes")]


def test_the_bytes_that_are_requested_at_once_are_bounded() -> None:
    session = Session(*(str(number) for number in range(MAX_PEERS)))
    size = MAX_OPEN_BYTES // 4
    session.request(*range(40), limit=size)
    assert sum(map(len, session.told.values())) == 4


def test_requests_and_peers_are_bounded() -> None:
    wants = WantList()
    peers = tuple(f"peer {number}" for number in range(MAX_PEERS + 5))
    request = Request(key=-1, cid=CIDS[0], limit=1, peers=peers, until=9)
    assert len(wants.request(request, 0)) == MAX_PEERS
    for key in range(MAX_QUEUE - 1):
        wants.request(Request(key=key, cid=CIDS[1], limit=1, peers=(), until=9), 0)
    with pytest.raises(ValueError, match=f"at most {MAX_QUEUE} requests"):
        wants.request(Request(key=MAX_QUEUE, cid=CIDS[1], limit=1, peers=(), until=9), 0)


def test_a_cancelled_request_is_withdrawn_from_its_peer() -> None:
    session = Session(ONE)
    session.request(0)
    session.wants.cancel(0)
    session.wants.cancel(0)
    session.step()
    assert session.cancelled == {ONE: [CIDS[0]]}
    assert len(session.wants) == 0
    session.send(ONE, BLOCKS[0])
    assert session.wants.liars == ()
    assert session.outcomes == []


def test_a_want_that_no_peer_was_told_of_is_withdrawn_in_silence() -> None:
    session = Session(ONE)
    session.wants.request(Request(key=0, cid=CIDS[0], limit=9, peers=(ONE,), until=9), 0)
    session.wants.connected(ONE, 0)
    session.wants.cancel(0)
    assert list(session.wants.updates(0)) == []


def test_wants_and_withdrawals_of_one_block_are_never_in_one_message() -> None:
    session = Session(ONE)
    session.request(0)
    session.wants.cancel(0)
    session.wants.request(Request(key=1, cid=CIDS[0], limit=999, peers=(ONE,), until=9), 0)
    # The peer was told neither: to it nothing has changed.
    assert list(session.wants.updates(0)) == []
    session.send(ONE, BLOCKS[0])
    assert session.outcomes == [Outcome(1, block=BLOCKS[0], peer=ONE)]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["serve", "lack", "lie", "lose", "cancel", "wait", "request", "old"]),
        st.integers(0, 9),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_request_ends_once_and_nothing_is_left(
    steps: list[tuple[str, int, str]],
) -> None:
    session = Session("a", "b", "c")
    session.request(0, 1, 2, 3)
    requested, cancelled = {0, 1, 2, 3}, set[int]()
    for what, number, peer in steps:
        told = session.told[peer]
        if what == "serve" and told:
            session.send(peer, BLOCKS[CIDS.index(told[number % len(told)])])
        elif what == "lack" and told:
            session.send(peer, absent=[told[number % len(told)]])
        elif what == "lie":
            session.send(peer, bytes([number]))
        elif what == "lose":
            session.wants.lost(peer, "it left", session.now)
        elif what == "cancel" and number in requested:
            session.wants.cancel(number)
            cancelled.add(number)
        elif what == "wait":
            session.step(number / 2)
        elif what == "request" and number not in requested:
            session.request(number, seconds=5 + number)
            requested.add(number)
    session.step(1000)
    ended = [outcome.key for outcome in session.outcomes]
    assert len(ended) == len(set(ended))
    assert set(ended) | cancelled == requested
    assert len(session.wants) == 0
    assert session.wants.next_deadline() is None
    assert all(
        Cid.of(Codec.RAW, outcome.block) == CIDS[outcome.key]
        for outcome in session.outcomes
        if outcome.block is not None
    )


def test_an_update_holds_wants_and_withdrawals() -> None:
    session = Session(ONE)
    session.request(0)
    session.wants.cancel(0)
    session.wants.request(Request(key=1, cid=CIDS[1], limit=9, peers=(ONE,), until=9), 0)
    assert list(session.wants.updates(0)) == [(ONE, Update((CIDS[1],), (CIDS[0],)))]
