"""Hostile mDNS packets do not hide the provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from phase_boot.adapters.finders import mdns_message
from phase_boot.adapters.finders.mdns import MAX_OF_ONE_SENDER, Browser
from phase_boot.adapters.finders.mdns_cache import (
    LONGEST_QUERY_SECONDS,
    MAX_ASKED,
    MAX_INSTANCES,
    MAX_QUESTIONS,
    MAX_SENDERS,
    Announcements,
    Pointer,
    Sender,
)
from phase_boot.adapters.finders.mdns_sockets import Endpoints
from phase_boot.adapters.net.address_watch import MulticastInterface
from phase_boot.console.lines import printable
from phase_boot.content.arch import Arch
from phase_boot.drill import virtual_time
from phase_boot.ports.finder import Candidate, DiscoveryQuery, Ignored
from tests.support.mdns_packets import (
    HOSTILE_LABELS,
    PATH,
    address,
    announcement,
    hostile_packets,
    packet,
    pointer,
    server,
    strings,
    text,
)

QUEST = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=15, urls=())
GOOD = Sender(2, 2, "192.0.2.7")
LIAR = Sender(2, 2, "192.0.2.66")
GOOD_URL = f"http://192.0.2.7:8070{PATH}"
Heard = tuple[Sender, bytes]


def found(heard: Iterable[Heard], *, seconds: float = 0.0, routed: bool = True) -> list[str]:
    """Return the URLs that these packets lead to, after so many seconds."""

    async def run() -> list[str]:
        browser = Browser(QUEST, mdns_message, routed=lambda _: routed)
        for sender, data in heard:
            browser.receive(sender, data)
        await asyncio.sleep(seconds)
        return [each.url for each in queued(browser)]

    return virtual_time.run(run())


def queued(browser: Browser) -> list[Candidate]:
    every = [browser.found.get_nowait() for _ in range(browser.found.qsize())]
    return [each for each in every if isinstance(each, Candidate)]


def good(*ips: str) -> bytes:
    return packet(*announcement(b"the provider", "good", *(ips or ("192.0.2.7",))))


def test_a_whole_announcement_is_a_candidate_at_once() -> None:
    assert found([(GOOD, good())]) == [GOOD_URL]


def test_an_announcement_may_come_in_pieces_and_in_any_order() -> None:
    pieces = announcement(b"the provider", "good", "192.0.2.7")
    for order in (pieces, pieces[::-1]):
        assert found([(GOOD, packet(piece)) for piece in order]) == [GOOD_URL]


@pytest.mark.parametrize("count", [0, 26, 64, 5000])
@pytest.mark.parametrize("first", [True, False])
def test_names_that_never_resolve_do_not_hide_a_provider(count: int, *, first: bool) -> None:
    liars = [
        (LIAR, packet(pointer(HOSTILE_LABELS[n % len(HOSTILE_LABELS)][:50] + b"%d" % n)))
        for n in range(count)
    ]
    heard = [(GOOD, good()), *liars] if first else [*liars, (GOOD, good())]
    assert found(heard) == [GOOD_URL]


@pytest.mark.parametrize("label", HOSTILE_LABELS)
def test_any_announcer_name_is_accepted_and_shown_escaped(label: bytes) -> None:
    async def run() -> list[str]:
        browser = Browser(QUEST, mdns_message, routed=lambda _: True)
        browser.receive(GOOD, packet(*announcement(label, "good", "192.0.2.7")))
        assert not browser.announcements.ignored
        return [each.service_name for each in queued(browser)]

    (who,) = virtual_time.run(run())
    assert printable(who).isprintable()
    assert who.encode()


@pytest.mark.parametrize("what", hostile_packets())
def test_an_invalid_packet_is_dropped_alone(what: str) -> None:
    liar = hostile_packets()[what]
    assert found([(LIAR, liar), (GOOD, good()), (LIAR, liar)]) == [GOOD_URL]
    assert found([(GOOD, liar), (GOOD, good())]) == [GOOD_URL]


def test_records_before_an_unreadable_one_are_used() -> None:
    records = announcement(b"the provider", "good", "192.0.2.7")
    assert found([(GOOD, packet(*records, b"\xc0\xff", count=len(records) + 1))]) == [GOOD_URL]


def test_goodbyes_and_cache_flushes_of_another_sender_remove_nothing() -> None:
    pieces = announcement(b"the provider", "good", "192.0.2.7")
    goodbye = packet(*announcement(b"the provider", "good", "192.0.2.7", ttl=0))
    flush = packet(address(b"good", "192.0.2.66"), server(b"the provider", b"evil"))
    heard = [(GOOD, packet(*pieces[:2])), (LIAR, goodbye), (LIAR, flush)] * 20
    assert found([*heard, (GOOD, packet(*pieces[2:]))]) == [GOOD_URL]


def test_records_of_two_senders_never_mix() -> None:
    lie = packet(server(b"the provider", b"good"), address(b"good", "192.0.2.66"))
    assert found([(LIAR, lie), (GOOD, packet(pointer(b"the provider")))]) == []
    urls = found([(LIAR, lie), (GOOD, good())])
    assert urls == [GOOD_URL]


def test_one_sender_has_a_bounded_share() -> None:
    many = [(LIAR, packet(*announcement(b"%d" % n, f"h{n}", "192.0.2.66"))) for n in range(5000)]
    elsewhere = [
        (LIAR, packet(server(b"x%d" % n, b"h"), text(b"x%d" % n, elsewhere_strings(n))))
        for n in range(40)
    ]
    urls = found([*elsewhere, *many, (GOOD, good())])
    assert GOOD_URL in urls
    assert len(urls) <= MAX_OF_ONE_SENDER + 1


def elsewhere_strings(number: int) -> tuple[bytes, ...]:
    mirror = b"mirror=http://h%d.example%s" % (number, PATH.encode())
    return (b"arch=amd64", b"channel=stable", mirror)


def test_invented_senders_are_bounded_and_the_provider_is_found() -> None:
    flood = [
        (Sender(2, 2, f"10.0.{n // 250}.{n % 250}"), packet(pointer(b"x"))) for n in range(5000)
    ]
    assert found([*flood, (GOOD, good())]) == [GOOD_URL]


def test_services_of_other_types_are_neither_queried_nor_offered() -> None:
    other = packet(pointer(b"x"), server(b"x", b"h"), text(b"x", strings("h", channel="nightly")))
    assert found([(GOOD, other)]) == []


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0", "224.0.0.251", "::", "::1", "ff02::fb"])  # noqa: S104 - nothing is bound
def test_an_impossible_provider_address_is_ignored(ip: str) -> None:
    assert found([(GOOD, good(ip, "192.0.2.7"))]) == [GOOD_URL]


def test_a_link_local_address_gets_its_interface_and_comes_last() -> None:
    sender = Sender(7, 10, "fe80::7")
    assert found([(sender, good("fe80::7"))]) == []
    assert found([(sender, good("fe80::7"))], seconds=1) == [f"http://[fe80::7%7]:8070{PATH}"]
    both = [(sender, good("fe80::7")), (GOOD, good())]
    assert found(both, seconds=1)[0] == GOOD_URL


def test_an_address_without_a_route_comes_last() -> None:
    assert found([(GOOD, good())], routed=False) == []
    assert found([(GOOD, good())], routed=False, seconds=1) == [GOOD_URL]


def test_the_table_is_bounded_and_asks_bounded_questions() -> None:
    table = Announcements()
    for sender in range(MAX_SENDERS * 2):
        for number in range(MAX_INSTANCES * 2):
            name = f"{number}._phase-image._tcp.local."
            table.add(Sender(2, 2, f"{sender}"), [Pointer(name)], 0.0)
    asked = table.questions(0.0)
    assert 0 < len(asked) <= MAX_QUESTIONS
    assert max(asked.count(question) for question in asked) == 1
    per_sender = {q.sender: sum(each.sender == q.sender for each in asked) for q in asked}
    assert max(per_sender.values()) <= MAX_ASKED


def test_an_unresolved_name_is_queried_repeatedly_at_long_intervals() -> None:
    table = Announcements()
    table.add(LIAR, [Pointer("x._phase-image._tcp.local.")], 0.0)
    asked = [second for second in range(600) if table.questions(float(second))]
    assert len(asked) <= 2 + 600 / LONGEST_QUERY_SECONDS
    # A response that was lost many times on a busy cable may still come.
    assert asked[-1] > 590


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a" * 64, "a." * 200, "\0", "a..b", f"{'x' * 70}._phase-image._tcp.local."],
)
def test_a_name_too_long_for_a_question_is_not_queried(name: str) -> None:
    wanted = [(name, 33), ("good._phase-image._tcp.local.", 33)]
    sent = b"".join(mdns_message.queries(wanted))
    assert b"\x04good\x0c_phase-image" in sent


def test_a_name_with_dots_is_queried_as_one_label() -> None:
    (query,) = mdns_message.queries([("a.b._phase-image._tcp.local.", 33)])
    assert b"\x03a.b\x0c_phase-image\x04_tcp\x05local\0" in query


def test_many_questions_become_packets_of_one_frame() -> None:
    packets = list(mdns_message.queries([(f"{n}._phase-image._tcp.local.", 33) for n in range(99)]))
    assert len(packets) > 1
    assert max(map(len, packets)) <= 1300


def test_each_reason_for_ignoring_a_service_is_reported_once_and_bounded() -> None:
    async def run() -> list[object]:
        browser = Browser(QUEST, mdns_message, routed=lambda _: True)
        for number in range(500):
            browser.receive(LIAR, packet(pointer(b"%d" % number), pointer(b"x%d" % number)))
        for _ in range(3):
            browser.report_ignored()
            await asyncio.sleep(10)
            browser.announcements.questions(asyncio.get_running_loop().time())
        return [browser.found.get_nowait() for _ in range(browser.found.qsize())]

    reported = virtual_time.run(run())
    assert set(reported) == {
        Ignored("packets beyond the rate of one sender"),
        Ignored("announcements beyond the room for one sender"),
    }
    assert len(reported) == 2


async def test_an_interface_that_cannot_be_used_costs_the_others_nothing() -> None:
    heard: list[Heard] = []
    wrong = MulticastInterface("gone0", 99_999, 2)
    endpoints = Endpoints(lambda *one: heard.append(one), lambda: frozenset({wrong}))
    task = asyncio.create_task(endpoints.follow())
    await asyncio.sleep(0.1)
    assert not task.done()
    assert endpoints.failure is not None
    assert "gone0" in endpoints.failure
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    endpoints.close()


def test_the_sample_packets_are_well_formed_as_described() -> None:
    packets: Sequence[bytes] = tuple(hostile_packets().values())
    assert len(set(packets)) == len(packets)
