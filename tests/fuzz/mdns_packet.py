"""Packets of mDNS as they come from a socket, through zeroconf's parser and the browser's table."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from phase_boot.adapters.finders import mdns_message
from phase_boot.adapters.finders.mdns import MAX_OF_ONE_SENDER, Browser
from phase_boot.adapters.finders.mdns_cache import (
    MAX_INSTANCES,
    MAX_QUESTIONS,
    Sender,
)
from phase_boot.console.lines import printable
from phase_boot.content.arch import Arch
from phase_boot.ports.finder import Candidate, DiscoveryQuery
from tests.fuzz.target import Target
from tests.support.mdns_packets import (
    HOSTILE_LABELS,
    PATH,
    announcement,
    hostile_packets,
    packet,
    pointer,
)

_QUEST = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=1, urls=())
_LIAR, _GOOD = Sender(2, 10, "fe80::66"), Sender(2, 10, "fe80::7")
_PROVIDER = packet(*announcement(b"the provider", "good", "192.0.2.7"))
_URL = f"http://192.0.2.7:8070{PATH}"
_LOOP = asyncio.new_event_loop()
MAX_LEN = 4096


def one(data: bytes) -> None:
    """Hear it from a stranger, twice, and then the provider."""
    _LOOP.run_until_complete(_heard(data))


async def _heard(data: bytes) -> None:
    browser = Browser(_QUEST, mdns_message, routed=lambda _: True)
    for sender, each in ((_LIAR, data), (_LIAR, data), (_GOOD, _PROVIDER)):
        browser.receive(sender, each)
    raised = [reason for reason in browser.announcements.ignored if "raised" in reason]
    assert raised == []
    every = [browser.found.get_nowait() for _ in range(browser.found.qsize())]
    found = [each for each in every if isinstance(each, Candidate)]
    assert _URL in {candidate.url for candidate in found}
    assert len(found) <= MAX_OF_ONE_SENDER + 1
    for candidate in found:
        assert candidate.url.isascii()
        assert candidate.url.isprintable()
        assert urlsplit(candidate.url).scheme in {"http", "https"}
        assert printable(candidate.service_name).isprintable()
        candidate.service_name.encode()
    asked = browser.announcements.questions(_LOOP.time())
    assert len(asked) <= min(MAX_QUESTIONS, 2 * MAX_INSTANCES)
    for sent in mdns_message.queries([(question.name, 33) for question in asked]):
        # What we ask can be read again, and is no answer to anybody.
        assert list(mdns_message.records(sent)) == []


TARGET = Target(
    one=one,
    starts={
        "provider": _PROVIDER,
        "by-name": packet(*announcement(b"x", "good", "192.0.2.7", "2001:db8::7", "fe80::7")),
        "goodbye": packet(*announcement(b"x", "good", "192.0.2.7", ttl=0)),
        "names": packet(*map(pointer, HOSTILE_LABELS)),
        **{
            what.replace(" ", "-"): data
            for what, data in hostile_packets().items()
            if len(data) <= MAX_LEN
        },
    },
    max_len=MAX_LEN,
    words=(
        b"\xc0\x0c",
        b"\x0c_phase-image\x04_tcp\x05local\0",
        b"\0\x0c\0\x01",
        b"\0\x21\x80\x01",
        b"\0\x10\x80\x01",
        b"arch=amd64",
        b"mirror=http://",
    ),
)
