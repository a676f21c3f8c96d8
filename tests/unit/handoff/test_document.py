"""The hand-over document."""

from __future__ import annotations

import json
import re
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.version import Version
from phase_boot.drill import sample_manifest as manifests
from phase_boot.drill.sample_manifest import NOW, PUBLISHER
from phase_boot.handoff.document import (
    MAX_ADDRESSES,
    MAX_BYTES,
    MAX_JOURNAL,
    MAX_SIGNERS,
    MAX_SOURCES,
    BadHandoff,
    CachePartition,
    Handoff,
    ManifestSource,
    Network,
    document,
    read,
)
from phase_boot.trust.verify import verify
from tests.support.manifests import REQUIREMENTS, TRUST

VERIFIED = verify(
    manifests.signed(manifests.document(motto="la bora è forte")),
    trust=TRUST,
    requirements=REQUIREMENTS,
    now=NOW,
)
LINK = Network(
    interface="enp1s0.12",
    addresses=("192.0.2.7/24", "2001:db8::7/64"),
    gateways=("192.0.2.1", "fe80::1"),
    dns=("192.0.2.53",),
    vlan="12",
    proxy="http://192.0.2.9:3128",
)
CACHE = CachePartition(
    guid="7068a5e0-0000-8000-8000-000000000003",
    location="/pci0000:00/0000:00:14.0/usb/-1/-1:1.0/host/target:0:0/:0:0:0",
)
MANIFEST_SOURCE = ManifestSource(
    manifest="https://[2001:db8::7]:8080/os/stable/amd64/manifest.json?key=1",
    provider="https://[2001:db8::7]:8080/os?key=1",
)
SOURCES = {"kernel": "http://[2001:db8::7]:8080", "rootfs": "store"}
LINES = ('{"seq": 0, "event": "started"}', '{"seq": 1, "event": "\\u00e8"}')
GOOD = document(
    mode="local",
    manifest=VERIFIED,
    network=LINK,
    cache=CACHE,
    manifest_source=MANIFEST_SOURCE,
    sources=SOURCES,
    journal=LINES,
)


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(GOOD), **fields}).encode()


def test_a_written_document_is_read_back() -> None:
    found = read(GOOD)
    assert found == Handoff(
        mode="local",
        version=Version.parse("2025.11.12"),
        manifest=VERIFIED.raw.decode(),
        signers=(PUBLISHER.keyid,),
        network=LINK,
        cache=CACHE,
        manifest_source=MANIFEST_SOURCE,
        sources=MappingProxyType(SOURCES),
        journal=LINES,
    )
    assert found.encode() == GOOD


def test_the_manifest_arrives_byte_for_byte() -> None:
    raw = read(GOOD).manifest.encode()
    assert verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW).digest == VERIFIED.digest


def test_a_boot_without_a_network_records_none() -> None:
    raw = document(mode="local", manifest=VERIFIED, network=None, sources={}, journal=())
    assert read(raw).network is None
    assert read(raw).encode() == raw


def test_private_mode_hands_over_no_origin_network_cache_or_journal() -> None:
    raw = document(
        mode="private",
        manifest=VERIFIED,
        network=LINK,
        cache=CACHE,
        manifest_source=MANIFEST_SOURCE,
        sources=SOURCES,
        journal=LINES,
    )
    assert read(raw).manifest_source is None
    assert b"2001:db8" not in raw
    assert read(raw).cache is None
    assert b"192.0.2" not in raw
    assert b"started" not in raw
    found = read(raw)
    assert (found.network, dict(found.sources), found.journal) == (None, {}, ())
    assert found.manifest.encode() == VERIFIED.raw


def test_a_journal_that_is_too_long_keeps_its_newest_lines() -> None:
    lines = [f"{number:06d}" + "\N{SNOWMAN}" * 1000 for number in range(1000)]
    raw = document(mode="local", manifest=VERIFIED, network=LINK, sources=SOURCES, journal=lines)
    kept = read(raw).journal
    assert len(raw) < MAX_BYTES
    assert list(kept) == lines[-len(kept) :]
    assert len(kept) > 400


@pytest.mark.parametrize(
    "cache",
    [
        {"guid": CACHE.guid},
        {"guid": CACHE.guid, "location": CACHE.location, "label": "phase-cache"},
        {"guid": CACHE.guid.upper(), "location": CACHE.location},
        {"guid": CACHE.guid, "location": ""},
        {"guid": CACHE.guid, "location": "/pci\n"},
        {"guid": CACHE.guid, "location": "/a" * 257},
        {"guid": CACHE.guid, "location": "$(reboot)"},
    ],
)
def test_a_cache_without_one_partition_and_location_is_refused(cache: object) -> None:
    with pytest.raises(BadHandoff, match="cache"):
        read(changed(cache=cache))


@pytest.mark.parametrize(
    "origin",
    [
        {"manifest": MANIFEST_SOURCE.manifest},
        {"manifest": MANIFEST_SOURCE.manifest, "provider": "", "mirrors": ""},
        {"manifest": "", "provider": ""},
        {"manifest": "store", "provider": ""},
        {"manifest": "file:///etc/passwd", "provider": ""},
        {"manifest": "http://user@192.0.2.7/", "provider": ""},
        {"manifest": MANIFEST_SOURCE.manifest, "provider": "http://a/\n"},
        {"manifest": MANIFEST_SOURCE.manifest, "provider": "http://" + "a" * 5000},
        {"manifest": MANIFEST_SOURCE.manifest, "provider": [MANIFEST_SOURCE.provider]},
        [MANIFEST_SOURCE.manifest],
    ],
)
def test_a_manifest_source_that_is_not_two_urls_is_refused(origin: object) -> None:
    with pytest.raises(BadHandoff, match="origin"):
        read(changed(origin=origin))


def test_an_invalid_manifest_source_is_left_out() -> None:
    raw = document(
        mode="local",
        manifest=VERIFIED,
        network=LINK,
        manifest_source=ManifestSource(manifest="cache:stable", provider=""),
        sources=SOURCES,
        journal=LINES,
    )
    assert read(raw).manifest_source is None
    assert read(raw).journal == LINES


@given(
    st.lists(st.text(max_size=20), max_size=5),
    st.dictionaries(st.sampled_from("abc"), st.just("store")),
)
def test_journal_lines_of_any_text_round_trip(lines: list[str], sources: dict[str, str]) -> None:
    raw = document(mode="local", manifest=VERIFIED, network=None, sources=sources, journal=lines)
    assert read(raw).journal == tuple(lines)
    assert dict(read(raw).sources) == sources


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(GOOD + b"{}", id="two objects"),
        pytest.param(GOOD[:-3], id="torn"),
        pytest.param(b"\xff" + GOOD, id="not UTF-8"),
        pytest.param(b" " * (MAX_BYTES + 1), id="too large"),
        pytest.param(b"[" * MAX_BYTES, id="too deep"),
        pytest.param(b'{"a":' * 100_000, id="objects too deep"),
        pytest.param(GOOD.replace(b'"mode"', b'"mode": "local", "mode"'), id="a name twice"),
        pytest.param(changed(schema="phase-boot-handoff-v2"), id="a later schema"),
        pytest.param(changed(schema=["phase-boot-handoff-v1"]), id="a schema of another type"),
        pytest.param(changed(extra=""), id="an unknown field"),
        pytest.param(
            json.dumps({"schema": "phase-boot-handoff-v1"}).encode(), id="a field missing"
        ),
        pytest.param(changed(mode="Local"), id="a mode of other letters"),
        pytest.param(changed(mode=None), id="no mode"),
        pytest.param(changed(mode=7), id="a number"),
        pytest.param(changed(mode=0.5), id="a fraction"),
        pytest.param(changed(mode=float("nan")), id="not a number"),
        pytest.param(GOOD.replace(b'"local"', b"9" * 5000), id="a number of 5000 digits"),
        pytest.param(changed(version="1.x"), id="a version of letters"),
        pytest.param(changed(version=True), id="a version of another type"),
        pytest.param(changed(manifest={}), id="a manifest that was read"),
        pytest.param(changed(signers="x"), id="signers that are a text"),
        pytest.param(changed(signers=["ed25519:x"]), id="a signer that is no key"),
        pytest.param(changed(signers=[PUBLISHER.keyid] * (MAX_SIGNERS + 1)), id="many signers"),
        pytest.param(changed(network=[]), id="a network that is a list"),
        pytest.param(changed(network={"interface": "enp1s0"}), id="no addresses"),
        pytest.param(changed(network={"interface": "a b", "addresses": []}), id="a space"),
        pytest.param(changed(network={"interface": "a", "addresses": ["\x1b[2J"]}), id="an escape"),
        pytest.param(
            changed(network={"interface": "a", "addresses": ["::1"] * (MAX_ADDRESSES + 1)}),
            id="many addresses",
        ),
        pytest.param(changed(sources={"../x": "store"}), id="a source for a path"),
        pytest.param(changed(sources={"kernel": "x" * 1025}), id="a long source"),
        pytest.param(changed(sources={"kernel": None}), id="a source of another type"),
        pytest.param(
            changed(sources={f"a{n}": "x" for n in range(MAX_SOURCES + 1)}), id="many sources"
        ),
        pytest.param(changed(journal={}), id="a journal that is an object"),
        pytest.param(changed(manifest="\ud800"), id="half a surrogate pair"),
        pytest.param(changed(journal=[{}]), id="a line that was read"),
    ],
)
def test_anything_that_the_boot_does_not_write_is_refused_in_one_sentence(raw: bytes) -> None:
    with pytest.raises(BadHandoff) as failure:
        read(raw)
    assert re.fullmatch(
        r"The hand-over document is not usable \(.{1,120}\): start this machine from its stick\.",
        str(failure.value),
    )


def test_the_limits_themselves_are_allowed() -> None:
    assert len(read(changed(journal=["x"] * 100_000)).journal) == 100_000
    assert MAX_JOURNAL < MAX_BYTES
