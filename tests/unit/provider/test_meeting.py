from __future__ import annotations

import pytest

from phase_boot.provider.limits import Limits
from phase_boot.provider.meeting import MOST_AT_ONCE, Caller, Meeting

LIMITS = Limits()
COUNT = 512


def caller(number: int) -> Caller:
    return f"10.0.{number // 200}.{number % 200 + 1}", 7000


def test_what_one_is_given_to_take_nobody_else_is() -> None:
    meeting = Meeting(COUNT, LIMITS)
    given = [meeting.exchange(caller(n), held=0, wants=64, now=0.0).yours for n in range(32)]
    assert all(given)
    assert sum(yours.bit_count() for yours in given) == sum(given).bit_count() <= COUNT


@pytest.mark.parametrize("machines", [1, 2, 7, 32])
def test_all_of_it_is_taken_once(machines: int) -> None:
    meeting = Meeting(COUNT, LIMITS)
    held, taken, now = [0] * machines, 0, 0.0
    while any(each != (1 << COUNT) - 1 for each in held):
        for number in range(machines):
            reply = meeting.exchange(caller(number), held=held[number], wants=64, now=now)
            taken += reply.yours.bit_count()
            held[number] |= reply.yours
            for _, theirs in reply.others:
                held[number] |= theirs
        now += 1.0
        assert now < 60
    assert taken == COUNT


def test_what_one_takes_is_mostly_in_one_piece() -> None:
    meeting = Meeting(COUNT, LIMITS)
    held = [0] * 8
    for _ in range(4):
        for number in range(8):
            held[number] |= meeting.exchange(
                caller(number), held=held[number], wants=64, now=0.0
            ).yours
    pieces = sum(format(each, "b").count("01") + each % 2 for each in held)
    assert pieces < 40


def test_the_rest_of_what_a_slow_one_was_to_take_goes_to_who_has_nothing_to_do() -> None:
    meeting = Meeting(COUNT, LIMITS)
    slow = meeting.exchange(caller(0), held=0, wants=64, now=0.0).yours
    rest = ((1 << COUNT) - 1) & ~slow
    quick = meeting.exchange(caller(1), held=rest, wants=64, now=3.0).yours
    assert quick.bit_count() == slow.bit_count() // 2
    assert quick & slow == quick
    assert meeting.exchange(caller(0), held=0, wants=0, now=3.0).yours == slow & ~quick


def test_who_says_nothing_more_is_forgotten_and_what_it_was_to_take_is_free() -> None:
    meeting = Meeting(16, LIMITS)
    meeting.exchange(caller(0), held=0b1, wants=64, now=0.0)
    later = LIMITS.peer_seconds + 0.1
    reply = meeting.exchange(caller(1), held=0, wants=64, now=later)
    assert reply.others == ()
    assert len(meeting) == 1
    again = meeting.exchange(caller(1), held=reply.yours, wants=64, now=later)
    assert reply.yours | again.yours == (1 << 16) - 1


def test_who_never_takes_what_it_was_given_loses_it() -> None:
    meeting = Meeting(8, LIMITS)
    assert meeting.exchange(caller(0), held=0, wants=64, now=0.0).yours == 0xFF
    now = 0.0
    while now <= LIMITS.allotted_seconds:
        assert meeting.exchange(caller(1), held=0xF0, wants=0, now=now).yours == 0
        meeting.exchange(caller(0), held=0, wants=0, now=now)
        now += 1.0
    meeting.exchange(caller(0), held=0, wants=0, now=now)
    assert meeting.exchange(caller(1), held=0xF0, wants=64, now=now).yours == 0x0F


def test_everybody_is_told_of_a_few_who_hold_what_it_does_not() -> None:
    meeting = Meeting(COUNT, LIMITS)
    for number in range(40):
        meeting.exchange(caller(number), held=number % 2, wants=0, now=0.0)
    told = meeting.exchange(caller(99), held=0, wants=0, now=0.0).others
    assert len(told) == LIMITS.peers_told
    assert all(held == 1 for _, held in told)
    assert not meeting.exchange(caller(99), held=1, wants=0, now=0.0).others


def test_one_address_fills_no_meeting() -> None:
    meeting = Meeting(COUNT, LIMITS)
    for port in range(1024, 4024):
        meeting.exchange(("10.0.0.66", port), held=(1 << COUNT) - 1, wants=MOST_AT_ONCE, now=0.0)
    assert len(meeting) == LIMITS.peers_of_an_address
    assert meeting.exchange(caller(1), held=0, wants=64, now=0.0).others


def test_a_full_meeting_still_tells_of_others() -> None:
    meeting = Meeting(COUNT, LIMITS)
    for number in range(LIMITS.peers):
        meeting.exchange(caller(number), held=1, wants=0, now=0.0)
    reply = meeting.exchange(caller(5000), held=0, wants=64, now=0.0)
    assert len(meeting) == LIMITS.peers
    assert reply.yours == 0
    assert len(reply.others) == LIMITS.peers_told


def test_a_peer_that_failed_for_one_machine_holds_nothing_back_from_it() -> None:
    meeting = Meeting(16, LIMITS)
    meeting.exchange(caller(0), held=(1 << 16) - 1, wants=0, now=0.0)
    assert meeting.exchange(caller(1), held=0, wants=64, now=0.0).yours == 0
    gone = frozenset({caller(0)})
    reply = meeting.exchange(caller(1), held=0, wants=64, now=0.1, failed=gone)
    assert reply.yours.bit_count() == 8
    assert reply.others == ()
    # What one machine says of a peer changes nothing for others.
    assert [who for who, _ in meeting.exchange(caller(2), held=0, wants=0, now=0.2).others] == [
        caller(0)
    ]


def test_a_machine_that_stops_is_named_no_more_and_holds_nothing_back() -> None:
    meeting = Meeting(16, LIMITS)
    meeting.exchange(caller(0), held=(1 << 16) - 1, wants=0, now=0.0)
    meeting.remove(caller(0))
    meeting.remove(caller(3))
    reply = meeting.exchange(caller(1), held=0, wants=64, now=0.1)
    assert reply.others == ()
    assert reply.yours
