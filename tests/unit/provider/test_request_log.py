"""The log lines that a client can cause are bounded, and suppressed ones are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from phase_boot.drill import virtual_time
from phase_boot.journal.event import Event
from phase_boot.provider.events import (
    ReceiptKept,
    RequestAnswered,
    RequestsSuppressed,
    Started,
    Stopped,
    as_line,
    as_sentence,
)
from phase_boot.provider.http.request_log import MAX_CLIENTS, RequestLog
from phase_boot.provider.limits import Limits

LIMITS = Limits()
ASKED = RequestAnswered(
    peer="10.0.0.5", method="GET", path="/health", status=200, bytes=7, seconds=0.1
)
KEPT = ReceiptKept(peer="10.0.0.5", node="n", job="j", outcome="ok", file="f")


def logged(
    events: Iterable[Event], *, wait: float = 0.0, more: Iterable[Event] = ()
) -> list[Event]:
    """Return the lines for ``events``, and for ``more`` after this many seconds."""
    out: list[Event] = []

    async def telling() -> None:
        log = RequestLog(out.append, LIMITS)
        for event in events:
            log(event)
        await asyncio.sleep(wait)
        for event in more:
            log(event)
        log.close()

    virtual_time.run(telling())
    return out


def paths(count: int, peer: Callable[[int], str] = lambda _: "10.0.0.5") -> list[RequestAnswered]:
    """Return this many requests, each of another path."""
    return [replace(ASKED, peer=peer(n), path=f"/{n}", status=404) for n in range(count)]


def suppressed(lines: list[Event]) -> list[RequestsSuppressed]:
    return [line for line in lines if isinstance(line, RequestsSuppressed)]


def test_the_same_request_in_a_loop_is_one_line_and_a_count() -> None:
    one, more = logged([ASKED] * 1000)
    assert one == ASKED
    assert isinstance(more, RequestsSuppressed)
    assert (more.peer, more.requests, more.bytes, more.errors) == ("10.0.0.5", 999, 7 * 999, 0)
    assert as_sentence(more).startswith("999 more requests from 10.0.0.5 within 60 s")


def test_a_request_with_another_outcome_gets_a_line() -> None:
    failed = replace(ASKED, status=0, error="the peer went away")
    assert logged([ASKED, failed, failed])[:2] == [ASKED, failed]


def test_a_client_with_changing_requests_is_summarised() -> None:
    lines = logged(paths(10_000))
    assert len(lines) == LIMITS.log_lines_per_address + 1
    assert suppressed(lines)[0].requests == 10_000 - LIMITS.log_lines_per_address


def test_a_suppressed_client_does_not_suppress_others() -> None:
    other = replace(ASKED, peer="10.0.0.6")
    assert other in logged([*paths(10_000), other])


def test_a_network_of_ipv6_counts_as_one_client() -> None:
    lines = logged(paths(10_000, lambda n: f"2001:db8::{n:x}"))
    assert len(lines) == LIMITS.log_lines_per_address + 1
    assert suppressed(lines)[0].peer == "2001:db8::/64"


def test_clients_from_many_networks_are_summarised_and_counted() -> None:
    count = 4 * MAX_CLIENTS
    lines = logged(paths(count, lambda n: f"10.1.{n // 256}.{n % 256}") * 2)
    assert len(lines) <= LIMITS.log_lines + LIMITS.log_summaries + 1
    assert sum(more.requests for more in suppressed(lines)) + LIMITS.log_lines == 2 * count
    assert "from other addresses" in as_sentence(lines[-1])


def test_suppressed_lines_are_summarised_at_the_end_of_the_interval() -> None:
    lines = logged([ASKED] * 3, wait=LIMITS.log_seconds + 1, more=[ASKED])
    assert [type(line) for line in lines] == [RequestAnswered, RequestsSuppressed, RequestAnswered]


def test_receipts_are_bounded_with_the_requests_that_bring_them() -> None:
    handed_in = [replace(KEPT, file=str(n)) for n in range(1000)]
    lines = logged(handed_in)
    assert len(lines) == LIMITS.log_lines_per_address + 1
    assert suppressed(lines)[0].receipts == 1000 - LIMITS.log_lines_per_address


@pytest.mark.parametrize("own", [Started(site="s", urls=("u",)), Stopped()])
def test_events_that_no_client_causes_are_never_suppressed(own: Event) -> None:
    assert own in logged([*paths(10_000), own])


def test_a_log_line_is_bounded() -> None:
    long = replace(ASKED, method="M" * 8000, path="\x00" * 8000, error="\N{SNOWMAN}" * 8000)
    for write in (as_line, as_sentence):
        assert len(write(logged([long])[0])) < 4000
