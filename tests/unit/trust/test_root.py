from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY
from phase_boot.drill.sample_root import ROOT_1, ROOT_KEY, channel, role, root_document, signed_root
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import (
    BadField,
    Refusal,
    RootNotByPrevious,
    RootNotBySelf,
    RootOutOfOrder,
)
from phase_boot.trust.root import (
    MAX_ANNOUNCERS,
    MAX_CHANNELS,
    MAX_VERSION,
    load_trusted,
    of,
    signed_bytes,
    verify_next,
)
from phase_boot.trust.signatures import Trust
from tests.support.manifests import SECOND
from tests.support.roots import SECOND_ROOT_KEY, THIRD_ROOT_KEY, first_root


def test_a_root_names_root_keys_publishers_and_expiry() -> None:
    channels = {"stable": channel(), "lab": channel(PUBLISHER, SECOND, threshold=2)}
    body = root_document(4, root=role(ROOT_KEY, SECOND_ROOT_KEY, threshold=2), channels=channels)
    root = of(body)
    assert root.version == 4
    assert root.role == Trust(frozenset({ROOT_KEY.keyid, SECOND_ROOT_KEY.keyid}), 2)
    assert list(root.channels) == ["stable", "lab"]
    assert root.channels["lab"].trust == Trust(frozenset({PUBLISHER.keyid, SECOND.keyid}), 2)
    assert root.channels["lab"].expires == datetime(2026, 11, 1, tzinfo=UTC)
    assert root.digest == Digest.of(signed_bytes(body))


def test_a_root_names_announcing_keys_in_their_order() -> None:
    keys = (SECOND.keyid, PUBLISHER.keyid)
    assert of(root_document(announcers=list(keys))).announcers == keys
    assert of(root_document(announcers=list(reversed(keys)))).announcers == keys[::-1]


def test_a_root_without_announcing_keys_names_none() -> None:
    assert of(root_document()).announcers == ()
    assert of(root_document(announcers=[])).announcers == ()


def test_the_digest_of_a_root_does_not_depend_on_its_signatures() -> None:
    both = root_document(root=role(ROOT_KEY, SECOND_ROOT_KEY))
    assert (
        load_trusted(signed_root(both)).digest
        == load_trusted(signed_root(both, SECOND_ROOT_KEY)).digest
    )
    assert load_trusted(signed_root(both)).digest != first_root().digest


def test_the_bounds_of_a_root_are_allowed() -> None:
    assert of(root_document(MAX_VERSION)).version == 2**31
    assert of(root_document(1)).version == 1
    many = {f"c{n}": channel() for n in range(MAX_CHANNELS)}
    assert len(of(root_document(channels=many)).channels) == 32
    announcers = [SigningKey(bytes([n]) * 32).keyid for n in range(MAX_ANNOUNCERS)]
    assert len(of(root_document(announcers=announcers)).announcers) == 4


def test_a_field_of_a_root_is_refused_by_its_whole_name() -> None:
    key = PUBLISHER.keyid
    for changes, field, reason in (
        ({"channels": {}}, "channels", "not 1 to 32 channels"),
        ({"channels": {"A": channel()}}, "channels", "a channel is 1 to 32 of a-z, 0-9 and -"),
        ({"channels": 7}, "channels", "not an object"),
        ({"channels": {"lab": 7}}, "channels.lab", "not an object"),
        ({"channels": {"lab": role(PUBLISHER)}}, "channels.lab.expires", "missing"),
        (
            {"channels": {"lab": {"keys": ["x"], "expires": "2026-11-01T00:00:00Z"}}},
            "channels.lab.keys",
            "a key id is ed25519",
        ),
        ({"version": 0}, "version", "not a whole number from 1 to 2147483648"),
        ({"root": None}, "root", "missing"),
        ({"root": {"threshold": 1}}, "root.keys", "not a list of at most 32"),
        ({"root": {"keys": ["x"], "threshold": 1}}, "root.keys", "a key id is ed25519"),
        ({"root": {"keys": [key, key], "threshold": 1}}, "root.keys", "a key is listed twice"),
        ({"root": {"keys": [key]}}, "root.threshold", "not a whole number from 1 to 32"),
        ({"root": {"keys": [key], "threshold": 33}}, "root.threshold", "not a whole number"),
        ({"root": {"keys": [key], "threshold": 2}}, "root", "the threshold is 2 and must be"),
        ({"root": {"keys": [], "threshold": 1}}, "root", "trust needs at least one key"),
        ({"announcers": key}, "announcers", "not a list of at most 4"),
        ({"announcers": [key] * 5}, "announcers", "not a list of at most 4"),
        ({"announcers": [key, key]}, "announcers", "a key is listed twice"),
        ({"announcers": [key.upper()]}, "announcers", "a key id is ed25519"),
        ({"announcers": [7]}, "announcers", "not a text"),
    ):
        with pytest.raises(
            BadField, match=rf"^The field {re.escape(field)} is not usable \({re.escape(reason)}"
        ):
            of(root_document(**changes))


def test_missing_signatures_are_counted() -> None:
    three = role(ROOT_KEY, SECOND_ROOT_KEY, THIRD_ROOT_KEY, threshold=3)
    body = root_document(5, root=three)
    with pytest.raises(
        RootNotBySelf, match=r"^Root 5 carries 2 of the 3 signatures of its own keys"
    ):
        load_trusted(signed_root(body, ROOT_KEY, THIRD_ROOT_KEY))
    previous = load_trusted(signed_root(body, ROOT_KEY, SECOND_ROOT_KEY, THIRD_ROOT_KEY))
    with pytest.raises(
        RootNotByPrevious, match=r"^Root 6 carries 1 of the 3 signatures of the root before it"
    ):
        verify_next(previous, signed_root(root_document(6), ROOT_KEY))
    with pytest.raises(RootOutOfOrder, match=r"^Root 9 is offered as root 6"):
        verify_next(
            previous, signed_root(root_document(9), ROOT_KEY, SECOND_ROOT_KEY, THIRD_ROOT_KEY)
        )


def test_more_signatures_than_needed_do_no_harm() -> None:
    raw = signed_root(root_document(2), UNTRUSTED_KEY, ROOT_KEY, SECOND_ROOT_KEY)
    assert verify_next(first_root(), raw).version == 2


def test_signatures_are_judged_before_the_number() -> None:
    for version in (1, 3):
        with pytest.raises(RootNotByPrevious):
            verify_next(first_root(), signed_root(root_document(version), UNTRUSTED_KEY))


def test_a_root_never_changes() -> None:
    root = first_root()
    with pytest.raises(TypeError):
        root.channels["stable"] = root.channels["stable"]  # type: ignore[index] # it must fail
    with pytest.raises(AttributeError):
        root.version = 2  # type: ignore[misc] # it must fail


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", ROOT_1[:-3]])
def test_an_invalid_root_is_refused_as_trusted_root_and_as_successor(raw: bytes) -> None:
    with pytest.raises(Refusal):
        load_trusted(raw)
    with pytest.raises(Refusal):
        verify_next(first_root(), raw)
