"""What peers of a DHT answer, and which records become candidates."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from phase_boot.adapters.finders.dht import (
    AGREEING,
    GRACE_SECONDS,
    LOOKUP_SECONDS,
    DhtFinder,
)
from phase_boot.content.arch import Arch
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_dht import FakeDht
from phase_boot.drill.sample_manifest import NOW, UNTRUSTED_KEY
from phase_boot.drill.sample_record import ANNOUNCER, MIRROR_URL, announcement, record
from phase_boot.drill.scenarios import BOOTSTRAP
from phase_boot.ports.finder import Candidate, DiscoveryQuery, Ignored, RecordQuery
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import read_record
from policies.model import Reach

NAME = IpnsName(ANNOUNCER.keyid)
ASKED = RecordQuery(
    names=(NAME,),
    routers=(),
    gateways=(),
    now=NOW,
    reach=Reach.INTERNET,
    redirects=5,
    bootstrap=(BOOTSTRAP,),
)
QUERY = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=15, urls=(), records=ASKED)
NEW_URL = "http://new/stable/amd64/manifest.json"
NEWER = record(sequence=8, announcement=announcement(mirrors=(NEW_URL,)))


def found(dht: FakeDht, query: DiscoveryQuery = QUERY) -> tuple[list[str], list[str], float]:
    """Return the URLs of the candidates, why others were ignored, and how long it took."""

    async def search() -> tuple[list[Candidate | Ignored], float]:
        clock = asyncio.get_running_loop().time
        began = clock()
        return [each async for each in DhtFinder(dht).find(query)], clock() - began

    answers, seconds = virtual_time.run(search())
    assert dht.running == 0
    urls = [each.url for each in answers if isinstance(each, Candidate)]
    return urls, [each.reason for each in answers if isinstance(each, Ignored)], seconds


def test_peers_that_agree_on_one_record_end_the_look_up() -> None:
    dht = FakeDht([None, *[record()] * AGREEING, NEWER])
    urls, reasons, seconds = found(dht)
    assert (urls, reasons) == ([MIRROR_URL], [])
    assert dht.lookups == [(NAME, (BOOTSTRAP,))]
    assert seconds == pytest.approx((AGREEING + 1) * dht.seconds)


def test_a_few_peers_that_conspire_with_an_older_record_do_not_end_the_look_up() -> None:
    urls, _, _ = found(FakeDht([*[record()] * 6, NEWER], hangs=True))
    assert urls == [NEW_URL]


def test_a_newer_record_that_comes_in_time_after_the_first_one_counts() -> None:
    urls, _, _ = found(FakeDht([record(), record(), NEWER], hangs=True))
    assert urls == [NEW_URL]


def test_a_look_up_that_hangs_after_a_record_ends_soon() -> None:
    dht = FakeDht([record()], hangs=True)
    urls, _, seconds = found(dht)
    assert urls == [MIRROR_URL]
    assert seconds == pytest.approx(dht.seconds + GRACE_SECONDS)


def test_an_older_record_is_ignored_however_many_peers_have_it() -> None:
    query = replace(QUERY, records=replace(ASKED, newest=(read_record(NEWER, NAME),)))
    urls, (reason,), _ = found(FakeDht([record(), record(), record(), record()]), query)
    assert urls == []
    assert "sequence 7" in reason


@pytest.mark.parametrize(
    "raw",
    [
        record(key=UNTRUSTED_KEY),
        record(validity=NOW - timedelta(seconds=1)),
        record()[:-1],
        b"<!DOCTYPE html>",
    ],
    ids=["another key", "expired", "cut", "page"],
)
def test_peers_that_agree_on_what_is_no_record_of_the_key_end_nothing(raw: bytes) -> None:
    urls, (reason,), _ = found(FakeDht([raw, raw, raw, raw, record()]))
    assert urls == [MIRROR_URL]
    assert str(NAME) in reason


def test_a_look_up_without_a_record_says_so() -> None:
    urls, (reason,), _ = found(FakeDht([None, None]))
    assert urls == []
    assert "no peer has a record" in reason


def test_a_look_up_that_fails_after_a_record_still_yields_it() -> None:
    assert found(FakeDht([record()], failure="it ended"))[0] == [MIRROR_URL]


def test_why_no_look_up_is_possible_is_said() -> None:
    urls, reasons, _ = found(FakeDht(failure="libp2p is not installed"))
    assert urls == []
    assert reasons == [f"the DHT, {NAME}: libp2p is not installed"]


def test_a_dht_that_never_ends_is_left() -> None:
    urls, (reason,), seconds = found(FakeDht(hangs=True))
    assert urls == []
    assert "no peer" in reason
    assert seconds <= 3 * LOOKUP_SECONDS


@pytest.mark.parametrize("records", [None, replace(ASKED, bootstrap=())])
def test_nothing_is_looked_up_without_a_key_or_a_peer_to_begin_with(
    records: RecordQuery | None,
) -> None:
    dht = FakeDht([record()])
    assert found(dht, replace(QUERY, records=records))[0] == []
    assert dht.lookups == []


def test_what_is_nearer_has_a_head_start() -> None:
    dht = FakeDht([record()] * 3)
    _, _, seconds = found(dht, replace(QUERY, records=replace(ASKED, dht_delay=0.7)))
    assert seconds == pytest.approx(0.7 + 3 * dht.seconds)
