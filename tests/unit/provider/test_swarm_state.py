from __future__ import annotations

import pytest

from phase_boot.provider.limits import Limits
from phase_boot.provider.swarm.swarm_state import MAX_ASSIGNED, PeerAddress, TrackedSwarm

LIMITS = Limits()
COUNT = 512


def address(number: int) -> PeerAddress:
    return f"10.0.{number // 200}.{number % 200 + 1}", 7000


def test_no_piece_is_assigned_to_two_peers() -> None:
    swarm = TrackedSwarm(COUNT, LIMITS)
    granted = [swarm.announce(address(n), have=0, want=64, now=0.0).assigned for n in range(32)]
    assert all(granted)
    assert sum(assigned.bit_count() for assigned in granted) == sum(granted).bit_count() <= COUNT


@pytest.mark.parametrize("machines", [1, 2, 7, 32])
def test_every_piece_is_assigned_once(machines: int) -> None:
    swarm = TrackedSwarm(COUNT, LIMITS)
    have, taken, now = [0] * machines, 0, 0.0
    while any(each != (1 << COUNT) - 1 for each in have):
        for number in range(machines):
            reply = swarm.announce(address(number), have=have[number], want=64, now=now)
            taken += reply.assigned.bit_count()
            have[number] |= reply.assigned
            for _, peer_have in reply.peers:
                have[number] |= peer_have
        now += 1.0
        assert now < 60
    assert taken == COUNT


def test_assignments_of_a_peer_are_mostly_contiguous() -> None:
    swarm = TrackedSwarm(COUNT, LIMITS)
    have = [0] * 8
    for _ in range(4):
        for number in range(8):
            have[number] |= swarm.announce(
                address(number), have=have[number], want=64, now=0.0
            ).assigned
    pieces = sum(format(each, "b").count("01") + each % 2 for each in have)
    assert pieces < 40


def test_half_of_a_slow_peers_assignment_moves_to_an_idle_peer() -> None:
    swarm = TrackedSwarm(COUNT, LIMITS)
    slow = swarm.announce(address(0), have=0, want=64, now=0.0).assigned
    rest = ((1 << COUNT) - 1) & ~slow
    quick = swarm.announce(address(1), have=rest, want=64, now=3.0).assigned
    assert quick.bit_count() == slow.bit_count() // 2
    assert quick & slow == quick
    assert swarm.announce(address(0), have=0, want=0, now=3.0).assigned == slow & ~quick


def test_a_silent_peer_expires_and_its_assignment_is_free() -> None:
    swarm = TrackedSwarm(16, LIMITS)
    swarm.announce(address(0), have=0b1, want=64, now=0.0)
    later = LIMITS.peer_seconds + 0.1
    reply = swarm.announce(address(1), have=0, want=64, now=later)
    assert reply.peers == ()
    assert len(swarm) == 1
    again = swarm.announce(address(1), have=reply.assigned, want=64, now=later)
    assert reply.assigned | again.assigned == (1 << 16) - 1


def test_a_peer_without_progress_loses_its_assignment() -> None:
    swarm = TrackedSwarm(8, LIMITS)
    assert swarm.announce(address(0), have=0, want=64, now=0.0).assigned == 0xFF
    now = 0.0
    while now <= LIMITS.assigned_seconds:
        assert swarm.announce(address(1), have=0xF0, want=0, now=now).assigned == 0
        swarm.announce(address(0), have=0, want=0, now=now)
        now += 1.0
    swarm.announce(address(0), have=0, want=0, now=now)
    assert swarm.announce(address(1), have=0xF0, want=64, now=now).assigned == 0x0F


def test_a_reply_names_a_few_peers_with_missing_pieces() -> None:
    swarm = TrackedSwarm(COUNT, LIMITS)
    for number in range(40):
        swarm.announce(address(number), have=number % 2, want=0, now=0.0)
    peers = swarm.announce(address(99), have=0, want=0, now=0.0).peers
    assert len(peers) == LIMITS.max_peers_returned
    assert all(have == 1 for _, have in peers)
    assert not swarm.announce(address(99), have=1, want=0, now=0.0).peers


def test_one_address_cannot_fill_a_swarm() -> None:
    swarm = TrackedSwarm(COUNT, LIMITS)
    for port in range(1024, 4024):
        swarm.announce(("10.0.0.66", port), have=(1 << COUNT) - 1, want=MAX_ASSIGNED, now=0.0)
    assert len(swarm) == LIMITS.peers_per_address
    assert swarm.announce(address(1), have=0, want=64, now=0.0).peers


def test_a_full_swarm_still_names_peers() -> None:
    swarm = TrackedSwarm(COUNT, LIMITS)
    for number in range(LIMITS.peers):
        swarm.announce(address(number), have=1, want=0, now=0.0)
    reply = swarm.announce(address(5000), have=0, want=64, now=0.0)
    assert len(swarm) == LIMITS.peers
    assert reply.assigned == 0
    assert len(reply.peers) == LIMITS.max_peers_returned


def test_pieces_of_a_failed_peer_may_be_assigned_to_the_peer_that_names_it() -> None:
    swarm = TrackedSwarm(16, LIMITS)
    swarm.announce(address(0), have=(1 << 16) - 1, want=0, now=0.0)
    assert swarm.announce(address(1), have=0, want=64, now=0.0).assigned == 0
    gone = frozenset({address(0)})
    reply = swarm.announce(address(1), have=0, want=64, now=0.1, failed=gone)
    assert reply.assigned.bit_count() == 8
    assert reply.peers == ()
    # A failure that one peer reports changes nothing for others.
    assert [
        address for address, _ in swarm.announce(address(2), have=0, want=0, now=0.2).peers
    ] == [address(0)]


def test_a_stopped_peer_leaves_the_swarm_and_frees_its_assignment() -> None:
    swarm = TrackedSwarm(16, LIMITS)
    swarm.announce(address(0), have=(1 << 16) - 1, want=0, now=0.0)
    swarm.remove(address(0))
    swarm.remove(address(3))
    reply = swarm.announce(address(1), have=0, want=64, now=0.1)
    assert reply.peers == ()
    assert reply.assigned
