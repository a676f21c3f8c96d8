from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY, document, encoded, signed
from phase_boot.drill.sample_root import ROOT_2, channel, root_document, signed_root
from phase_boot.trust.chain import Chain
from phase_boot.trust.refusals import StateForeign, StateTampered, StateUnreadable
from phase_boot.trust.rollback import (
    MAX_SEEN,
    MAX_STATE_BYTES,
    SCHEMA,
    RollbackState,
    entries_of,
    read_state,
    write_state,
)
from phase_boot.trust.signatures import Trust
from phase_boot.trust.strict_json import MAX_BYTES, MAX_DEPTH
from phase_boot.trust.verify import SignedManifest, authenticate
from tests.support.manifests import TRUST
from tests.support.roots import first_root

CHAIN = Chain(first_root())
LONGER = CHAIN.extended(ROOT_2)
STRANGERS = Chain(Trust(frozenset({UNTRUSTED_KEY.keyid}), 1))


def known(**changes: Any) -> SignedManifest:
    return authenticate(signed(document(**changes)), TRUST)


def seen_of(*manifests: SignedManifest) -> RollbackState:
    seen = RollbackState()
    for manifest in manifests:
        seen = seen.including(manifest)
    return seen


def floor(seen: RollbackState, channel: str = "stable", arch: Arch = Arch.AMD64) -> str | None:
    version = seen.floor(channel, arch)
    return None if version is None else str(version)


def entry(**changes: Any) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(signed(document(**changes)))
    return loaded


def state(chain: Chain = CHAIN, **changes: object) -> bytes:
    fields = {"schema": SCHEMA, "root": str(chain.identity), "seen": [entry()]}
    return json.dumps(fields | changes).encode()


def test_without_a_seen_version_there_is_no_floor() -> None:
    assert floor(RollbackState()) is None
    assert RollbackState().issued is None


def test_the_highest_version_of_a_channel_and_architecture_is_its_floor() -> None:
    seen = seen_of(known(version="2"), known(version="1"), known(version="1.9"))
    assert floor(seen) == "2"
    assert floor(seen.including(known(version="2.0.1"))) == "2.0.1"
    assert len(seen.manifests) == 1


def test_each_channel_and_architecture_has_its_own_floor() -> None:
    seen = seen_of(known(version="3"), known(version="5", channel="lab"), known(arch="arm64"))
    assert floor(seen) == "3"
    assert floor(seen, "lab") == "5"
    assert floor(seen, "stable", Arch.ARM64) == "2025.11.12"
    assert floor(seen, "lab", Arch.ARM64) is None


def test_of_one_version_the_one_issued_last_is_kept() -> None:
    early, late = known(), known(issued="2025-11-13T00:00:00Z")
    assert seen_of(early, late).manifests == (late,)
    assert seen_of(late, early).manifests == (late,)


def test_a_lower_version_leaves_the_state_unchanged() -> None:
    seen = seen_of(known(version="2"))
    assert seen.including(known(version="2")) is seen
    assert seen.including(known(version="1", issued="2025-11-14T00:00:00Z")) is seen


def test_the_newest_of_all_bounds_the_clock() -> None:
    seen = seen_of(known(), known(channel="lab", issued="2025-11-14T00:00:00Z"), known(channel="x"))
    assert seen.issued == datetime(2025, 11, 14, tzinfo=UTC)


def test_the_places_that_were_issued_last_are_remembered() -> None:
    dated = [
        known(channel=f"c{n}", issued=f"2025-11-{day:02}T00:00:00Z")
        for n, day in enumerate([3, 9, 4, 8, 5, 7, 6, 2, 1])
    ]
    seen = seen_of(*dated)
    assert len(seen.manifests) == MAX_SEEN == 8
    assert seen.manifests[0].manifest.channel == "c8"
    assert floor(seen, "c7") is None
    again = seen.including(known(channel="c9", issued="2025-11-01T00:00:00Z"))
    assert floor(again, "c8") is None
    assert floor(again, "c0") is not None
    assert again.manifests[0].manifest.channel == "c9"


def test_a_state_is_read_back_as_it_was_written() -> None:
    seen = seen_of(known(), known(channel="lab"), known(arch="arm64"))
    chain = Chain(TRUST)
    read, doubts = read_state(write_state(seen, chain), chain)
    assert doubts == ()
    assert {m.manifest.channel for m in read.manifests} == {"stable", "lab"}
    assert len(read.manifests) == 3
    assert write_state(RollbackState(), CHAIN) == (
        f'{{"root":"{CHAIN.identity}","schema":"phase-boot-state-v1","seen":[]}}'.encode()
    )


def test_a_state_is_bound_to_the_newest_root() -> None:
    assert str(LONGER.identity).encode() in write_state(RollbackState(), LONGER)
    # What an older root of the same chain was bound to is no stranger's.
    assert read_state(write_state(RollbackState(), CHAIN), LONGER) == (RollbackState(), ())
    assert read_state(write_state(RollbackState(), LONGER), CHAIN)[1] != ()


def test_an_entry_signed_by_a_revoked_key_is_dropped_without_a_doubt() -> None:
    raw = write_state(seen_of(known()), CHAIN)
    assert floor(read_state(raw, CHAIN)[0]) == "2025.11.12"
    seen, doubts = read_state(raw, LONGER)
    assert (floor(seen), doubts) == (None, ())


def test_entries_are_verified_again_under_a_newer_root() -> None:
    lab = {"stable": channel(), "lab": channel()}
    both = Chain(first_root()).extended(signed_root(root_document(2, channels=lab)))
    seen = seen_of(known(), known(channel="lab"))
    assert len(seen.under(both).manifests) == 2
    assert [m.manifest.channel for m in seen.under(CHAIN).manifests] == ["stable"]
    assert seen.under(LONGER) == RollbackState()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "document.not-json"),
        (b"{}", "document.bad-field"),
        (state(schema=None), "document.bad-field"),
        (state(schema="phase-boot-state-v2"), "document.bad-field"),
        (state(root="sha256:0"), "document.bad-field"),
        (state(seen={}), "document.bad-field"),
        (state(seen=["x"]), "document.bad-field"),
        (state(seen=[{}] * (MAX_SEEN + 1)), "document.bad-field"),
        (state() + b" " * MAX_STATE_BYTES, "document.too-large"),
        (state(x=[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]), "document.too-deep"),
    ],
)
def test_an_invalid_state_gives_one_doubt_with_its_reason(raw: bytes, code: str) -> None:
    seen, doubts = read_state(raw, CHAIN)
    assert seen == RollbackState()
    assert [type(doubt) for doubt in doubts] == [StateUnreadable]
    assert f"({code})" in str(doubts[0])


def test_a_state_may_be_as_large_and_as_deep_as_its_manifests() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    raw = state(seen=[entry(deep=deep)])
    padded = raw + b" " * (MAX_STATE_BYTES - len(raw))
    assert len(padded) == 9 * MAX_BYTES
    assert read_state(padded, CHAIN)[1] == ()
    assert floor(read_state(padded, CHAIN)[0]) == "2025.11.12"


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"channel": 7},
        {"channel": "stable"},
        json.loads(encoded(document())),
        json.loads(signed(document(), UNTRUSTED_KEY)),
        {**entry(), "version": "9999"},
        {**entry(), "channel": "lab"},
        {**entry(), "channel": ["stable"]},
    ],
)
def test_an_unsigned_entry_gives_one_doubt_and_affects_no_other(forged: object) -> None:
    seen, doubts = read_state(state(seen=[forged, entry()]), CHAIN)
    assert floor(seen) == "2025.11.12"
    assert [type(doubt) for doubt in doubts] == [StateTampered]
    assert "changed (no trusted key ever signed it)" in str(doubts[0])


def test_a_state_signed_by_an_untrusted_key_gives_one_doubt() -> None:
    mine, theirs = entry(version="7"), json.loads(signed(document(version="9"), UNTRUSTED_KEY))
    seen, doubts = read_state(state(STRANGERS, seen=[theirs, mine, theirs]), CHAIN)
    assert [type(doubt) for doubt in doubts] == [StateForeign]
    assert floor(seen) == "7"


def test_an_entry_without_a_channel_counts_for_no_fixed_key() -> None:
    nameless = {name: value for name, value in entry().items() if name != "channel"}
    seen, doubts = read_state(state(Chain(TRUST), seen=[nameless]), Chain(TRUST))
    assert seen == RollbackState()
    assert len(doubts) == 1


def test_the_entries_of_a_state_can_be_read_without_verification() -> None:
    forged = entry(version="9")
    assert entries_of(state(seen=[entry(), forged])) == [entry(), forged]
