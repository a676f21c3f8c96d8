"""Announcements: places by channel and architecture, in one encoding."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from phase_boot.content.arch import Arch
from phase_boot.trust.announcement import (
    MAX_MIRRORS,
    MAX_MULTIADDR,
    MAX_PLACES,
    MAX_PROVIDERS,
    Announcement,
    Place,
)
from phase_boot.trust.refusals import BadField
from phase_boot.trust.strict_json import canonical
from tests.support.ipns_records import MANIFEST_CID, MIRROR, PROVIDER, announcement, place

NAME = "stable/amd64"
BAD_CHANNELS = ("/amd64", "Stable/amd64", "a" * 33 + "/amd64")


def text_of(**changes: Any) -> str:
    """Return an announcement of one place with some fields changed; None leaves one out."""
    fields = {**place().table(), **changes}
    held = {name: value for name, value in fields.items() if value is not None}
    return canonical({NAME: held}).decode()


def assert_refused(text: str, reason: str, field: str = "_phase_boot") -> None:
    with pytest.raises(BadField) as refused:
        Announcement.parse(text)
    assert str(refused.value).startswith(f"The field {field} is not usable ({reason}")
    assert not refused.value.ban_source


def test_an_announcement_is_canonical_json() -> None:
    assert announcement().encode() == (
        f'{{"stable/amd64":{{"manifest_cid":"{MANIFEST_CID}","mirrors":["{MIRROR}"],'
        f'"providers":["{PROVIDER}"]}}}}'
    )


@pytest.mark.parametrize(
    "places",
    [
        {},
        {("stable", Arch.AMD64): place()},
        {("stable", Arch.AMD64): place(), ("stable", Arch.ARM64): place(mirrors=())},
        {("a" * 32, Arch.ARM64): Place(MANIFEST_CID)},
        {("s", Arch.AMD64): place(mirrors=(MIRROR,) * MAX_MIRRORS)},
        {("s", Arch.AMD64): place(providers=(PROVIDER,) * MAX_PROVIDERS)},
        {("s", Arch.AMD64): place(providers=("/" + "~" * (MAX_MULTIADDR - 1), "/!"))},
        {("s", Arch.AMD64): place(mirrors=("http://[2001:db8::7]:8080/manifest.json?a=b",))},
        {(f"c{number}", Arch.AMD64): place() for number in range(MAX_PLACES)},
    ],
)
def test_an_announcement_round_trips(places: dict[tuple[str, Arch], Place]) -> None:
    made = Announcement(places)
    assert Announcement.parse(made.encode()) == made
    assert isinstance(Announcement.parse(made.encode()).places, MappingProxyType)


def test_lists_that_are_missing_are_empty() -> None:
    found = Announcement.parse(text_of(mirrors=None, providers=None))
    assert found == announcement(mirrors=(), providers=())


def test_unknown_fields_of_a_place_are_ignored() -> None:
    text = text_of(later=[[[[{"a": 1}]]]])
    assert Announcement.parse(text) == announcement()


def test_a_place_of_an_unknown_architecture_is_left_out() -> None:
    names = ("stable/riscv64", "stable/x86_64", "stable/" + "a" * 32)
    places = {name: place().table() for name in (NAME, *names)}
    assert Announcement.parse(canonical(places).decode()) == announcement()


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"manifest_cid": None}, "manifest_cid", "missing"),
        ({"manifest_cid": 7}, "manifest_cid", "not a text"),
        ({"manifest_cid": str(MANIFEST_CID)[:-1]}, "manifest_cid", "a CID here is b and 58"),
        ({"mirrors": MIRROR}, "mirrors", "not a list of at most 8"),
        ({"mirrors": [MIRROR] * 9}, "mirrors", "not a list of at most 8"),
        ({"mirrors": [7]}, "mirrors", "not a text"),
        ({"mirrors": ["mirror.example"]}, "mirrors", "it does not start with http"),
        ({"mirrors": ["https://mirror.example/"]}, "mirrors", "it does not end with /manifest"),
        ({"mirrors": ["https://m.example/xmanifest.json"]}, "mirrors", "it does not end with /"),
        ({"mirrors": ["http://a/?b=/manifest.json"]}, "mirrors", "it does not end with /manif"),
        ({"mirrors": [MIRROR + "\n"]}, "mirrors", "it holds a blank or a control character"),
        (
            {"mirrors": ["http://a/" + "b" * 490 + "/manifest.json"]},
            "mirrors",
            "it has 513 characters and may have 512",
        ),
        ({"providers": PROVIDER}, "providers", "not a list of at most 8"),
        ({"providers": [PROVIDER] * 9}, "providers", "not a list of at most 8"),
        ({"providers": [None]}, "providers", "missing"),
        ({"providers": ["ip4"]}, "providers", "too long"),
        ({"providers": ["/"]}, "providers", "too long"),
        ({"providers": ["/ip4 /"]}, "providers", "too long"),
        ({"providers": ["/ip4\x7f"]}, "providers", "too long"),
        ({"providers": ["/" + "a" * MAX_MULTIADDR]}, "providers", "too long"),
    ],
)
def test_a_field_that_is_not_usable_is_named(
    changes: dict[str, Any], field: str, reason: str
) -> None:
    assert_refused(text_of(**changes), reason, f"_phase_boot.{NAME}.{field}")


@pytest.mark.parametrize(
    "name",
    [
        *("", "stable", "stable/", "stable/AMD64", "a/b/amd64", "stable/amd64/"),
        *("stable/" + "a" * 33, "stable/riscv 64", *BAD_CHANNELS),
    ],
)
def test_a_place_without_a_channel_or_an_architecture_is_refused(name: str) -> None:
    text = canonical({name: place().table()}).decode()
    reason = "a channel is 1 to 32" if name in BAD_CHANNELS else "a place is named by a channel, a"
    assert_refused(text, reason, f"_phase_boot.{name}")


def test_a_place_that_is_no_object_is_refused() -> None:
    assert_refused('{"stable/amd64":7}', "not an object", f"_phase_boot.{NAME}")


def test_a_defect_of_a_place_of_an_unknown_architecture_counts_too() -> None:
    text = canonical({"stable/riscv64": {}}).decode()
    assert_refused(text, "missing", "_phase_boot.stable/riscv64.manifest_cid")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "document.not-json"),
        ("[]", "document.not-json"),
        ('{"a":1,"a":1}', "document.duplicate-key"),
        ('{"a":1.5}', "document.not-an-integer"),
        ('{"a":' + "[" * 8 + "]" * 8 + "}", "document.too-deep"),
        (" " * 65_537, "document.too-large"),
        ('{"e\u0301":1}', "document.bad-text"),
        (announcement().encode() + " ", "not in canonical form"),
        ('{ "a":1}', "not in canonical form"),
        ('{"b":1,"a":1}', "not in canonical form"),
        ('{"\\u0061":1}', "not in canonical form"),
        (canonical({f"c{n}/amd64": {} for n in range(17)}).decode(), "more than 16 places"),
    ],
)
def test_a_text_that_is_no_canonical_object_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadField) as refused:
        Announcement.parse(text)
    assert str(refused.value).startswith(f"The field _phase_boot is not usable ({reason}")
    assert not refused.value.ban_source
