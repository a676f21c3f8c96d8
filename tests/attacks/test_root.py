"""Attacks on the root chain: only a threshold of its keys changes the trusted publishers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from phase_boot.drill.sample_manifest import NOW, PUBLISHER, UNTRUSTED_KEY, document, signed
from phase_boot.drill.sample_manifest import signature as manifest_signature
from phase_boot.drill.sample_root import (
    NEW_PUBLISHER,
    ROOT_1,
    ROOT_2,
    ROOT_KEY,
    channel,
    role,
    root_document,
    signatures_of,
    signed_root,
)
from phase_boot.trust.chain import MAX_ROOTS, Chain
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import (
    BadField,
    BadSignature,
    ChannelUnknown,
    DelegationExpired,
    DuplicateKey,
    NoRootToFollow,
    Refusal,
    RootNotByPrevious,
    RootNotBySelf,
    RootOutOfOrder,
    TooLarge,
    UntrustedSigner,
)
from phase_boot.trust.root import Root, load_trusted, signed_bytes
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import verify
from tests.support.manifests import REQUIREMENTS, SECOND, TRUST
from tests.support.roots import SECOND_ROOT_KEY, THIRD_ROOT_KEY, first_root

ANNOUNCER = SigningKey(b"\x41" * 32)


def chain() -> Chain:
    return Chain(first_root())


def assert_not_followed(raw: bytes, refusal: type[Refusal], before: Chain | None = None) -> None:
    """The root is refused by name, and what was trusted before is trusted still."""
    before = before or chain()
    identity, announcers = before.identity, before.announcers
    with pytest.raises(refusal):
        before.extended(raw)
    assert (before.identity, before.announcers) == (identity, announcers)
    assert before.trust("stable", NOW) == TRUST


def test_the_successor_of_a_root_is_followed() -> None:
    after = chain().extended(ROOT_2)
    assert after.version == 2
    assert after.trust("stable", NOW) == Trust(frozenset({NEW_PUBLISHER.keyid}), 1)


def test_root_signed_by_an_untrusted_key() -> None:
    body = root_document(2, root=role(UNTRUSTED_KEY), channels={"stable": channel(UNTRUSTED_KEY)})
    assert_not_followed(signed_root(body, UNTRUSTED_KEY), RootNotByPrevious)


def test_root_signed_by_the_old_keys_only() -> None:
    body = root_document(2, root=role(SECOND_ROOT_KEY))
    assert_not_followed(signed_root(body, ROOT_KEY), RootNotBySelf)


def test_root_signed_by_the_new_keys_only() -> None:
    body = root_document(2, root=role(SECOND_ROOT_KEY))
    assert_not_followed(signed_root(body, SECOND_ROOT_KEY), RootNotByPrevious)


def test_root_signed_by_old_and_new_keys_replaces_the_root_keys() -> None:
    after = chain().extended(
        signed_root(root_document(2, root=role(SECOND_ROOT_KEY)), ROOT_KEY, SECOND_ROOT_KEY)
    )
    third = root_document(3, root=role(SECOND_ROOT_KEY))
    with pytest.raises(RootNotByPrevious):
        after.extended(signed_root(third, ROOT_KEY))
    assert after.extended(signed_root(third, SECOND_ROOT_KEY)).version == 3


def test_root_skipped_by_one() -> None:
    assert_not_followed(signed_root(root_document(3)), RootOutOfOrder)


def test_rollback_of_the_root() -> None:
    after = chain().extended(ROOT_2)
    for old in (ROOT_1, ROOT_2):
        with pytest.raises(RootOutOfOrder):
            after.extended(old)
    assert after.trust("stable", NOW).keys == {NEW_PUBLISHER.keyid}


def test_root_of_the_same_version_with_other_publishers() -> None:
    """A holder of former keys cannot replace the root of a version."""
    body = root_document(1, channels={"stable": channel(UNTRUSTED_KEY)})
    assert_not_followed(signed_root(body), RootOutOfOrder)


def test_publisher_key_signs_no_root() -> None:
    body = root_document(2, channels={"stable": channel(PUBLISHER, UNTRUSTED_KEY)})
    assert_not_followed(signed_root(body, PUBLISHER), RootNotByPrevious)


def test_root_key_publishes_nothing() -> None:
    trust = chain().trust("stable", NOW)
    with pytest.raises(UntrustedSigner):
        verify(signed(document(), ROOT_KEY), trust=trust, requirements=REQUIREMENTS, now=NOW)


def test_threshold_of_root_keys_not_met() -> None:
    two = role(ROOT_KEY, SECOND_ROOT_KEY, THIRD_ROOT_KEY, threshold=2)
    before = Chain(load_trusted(signed_root(root_document(root=two), ROOT_KEY, THIRD_ROOT_KEY)))
    after = root_document(2, root=role(THIRD_ROOT_KEY))
    assert_not_followed(signed_root(after, THIRD_ROOT_KEY), RootNotByPrevious, before)
    followed = before.extended(signed_root(after, SECOND_ROOT_KEY, THIRD_ROOT_KEY))
    assert followed.version == 2


def test_same_root_key_twice_for_a_threshold_of_two() -> None:
    two = role(ROOT_KEY, SECOND_ROOT_KEY, threshold=2)
    before = Chain(load_trusted(signed_root(root_document(root=two), ROOT_KEY, SECOND_ROOT_KEY)))
    assert_not_followed(
        signed_root(root_document(2), ROOT_KEY, ROOT_KEY), RootNotByPrevious, before
    )


def test_signature_of_a_manifest_signs_no_root() -> None:
    """What a key signed as a manifest cannot be passed off as a root, nor the other way round."""
    body = root_document(2)
    raw = json.dumps({**body, "signatures": [manifest_signature(body, ROOT_KEY)]}).encode()
    assert_not_followed(raw, RootNotByPrevious)
    manifest = document()
    entry = signatures_of(manifest, [PUBLISHER])[0]
    with pytest.raises(BadSignature):
        verify(
            json.dumps({**manifest, "signatures": [entry]}).encode(),
            trust=TRUST,
            requirements=REQUIREMENTS,
            now=NOW,
        )


def test_stolen_publisher_key_is_worth_nothing_after_rotation() -> None:
    stolen = signed(document(version="2099.1"), PUBLISHER)
    before, after = chain(), chain().extended(ROOT_2)
    verify(stolen, trust=before.trust("stable", NOW), requirements=REQUIREMENTS, now=NOW)
    with pytest.raises(UntrustedSigner):
        verify(stolen, trust=after.trust("stable", NOW), requirements=REQUIREMENTS, now=NOW)


def announcing() -> Chain:
    """Return a chain whose root 2 names an announcing key."""
    return chain().extended(signed_root(root_document(2, announcers=[ANNOUNCER.keyid])))


def test_stolen_announcing_key_ends_with_the_next_root() -> None:
    before = announcing()
    after = before.extended(signed_root(root_document(3, announcers=[SECOND.keyid])))
    assert (before.announcers, after.announcers) == ((ANNOUNCER.keyid,), (SECOND.keyid,))
    assert announcing().extended(signed_root(root_document(3))).announcers == ()
    old = signed_root(root_document(2, announcers=[ANNOUNCER.keyid]))
    with pytest.raises(RootOutOfOrder):
        after.extended(old)
    assert after.announcers == (SECOND.keyid,)


def test_announcing_key_signs_no_root_and_no_manifest() -> None:
    before = announcing()
    body = root_document(3, announcers=[ANNOUNCER.keyid, UNTRUSTED_KEY.keyid])
    assert_not_followed(signed_root(body, ANNOUNCER), RootNotByPrevious, before)
    with pytest.raises(UntrustedSigner):
        verify(
            signed(document(), ANNOUNCER),
            trust=before.trust("stable", NOW),
            requirements=REQUIREMENTS,
            now=NOW,
        )


def test_announcers_of_an_unsigned_root_never_count() -> None:
    body = root_document(3, announcers=[UNTRUSTED_KEY.keyid])
    unsigned = json.dumps(body).encode()
    by_others = signed_root(body, UNTRUSTED_KEY, PUBLISHER)
    added_later = json.dumps(
        {**body, "signatures": signatures_of(root_document(3), [ROOT_KEY])}
    ).encode()
    for raw in (unsigned, by_others, added_later):
        assert_not_followed(raw, RootNotByPrevious, announcing())
        with pytest.raises(RootNotBySelf):
            load_trusted(raw)


def test_freeze_on_an_old_root_ends_with_its_expiry() -> None:
    """An attacker who hides newer roots has until the date in the root, and no longer."""
    frozen = chain()
    last = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)
    assert frozen.trust("stable", last) == TRUST
    with pytest.raises(DelegationExpired, match="2026-11-01"):
        frozen.trust("stable", datetime(2026, 11, 1, tzinfo=UTC))


def test_publisher_of_one_channel_publishes_no_other() -> None:
    channels = {"stable": channel(PUBLISHER), "beta": channel(SECOND)}
    both = Chain(load_trusted(signed_root(root_document(channels=channels))))
    with pytest.raises(UntrustedSigner):
        verify(
            signed(document(), SECOND),
            trust=both.trust("stable", NOW),
            requirements=REQUIREMENTS,
            now=NOW,
        )
    with pytest.raises(ChannelUnknown, match="nightly"):
        both.trust("nightly", NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"version": True},
        {"version": "2"},
        {"version": 2**31 + 1},
        {"version": None},
        {"root": None},
        {"root": role()},
        {"root": role(ROOT_KEY, threshold=0)},
        {"root": role(ROOT_KEY, threshold=2)},
        {"root": role(ROOT_KEY, ROOT_KEY)},
        {"root": {"keys": [ROOT_KEY.keyid.upper()], "threshold": 1}},
        {"root": {"keys": ROOT_KEY.keyid, "threshold": 1}},
        {"root": {"keys": [ROOT_KEY.keyid] * 33, "threshold": 1}},
        {"channels": None},
        {"channels": {}},
        {"channels": {f"c{n}": channel() for n in range(33)}},
        {"channels": {"Stable": channel()}},
        {"channels": {"stable": []}},
        {"channels": {"stable": role(PUBLISHER)}},
        {"channels": {"stable": {**channel(), "threshold": 2}}},
        {"channels": {"stable": {**channel(), "keys": []}}},
        {"channels": {"stable": channel(expires="never")}},
        {"announcers": ANNOUNCER.keyid},
        {"announcers": {ANNOUNCER.keyid: 1}},
        {"announcers": [ANNOUNCER.keyid, ANNOUNCER.keyid]},
        {"announcers": [ANNOUNCER.keyid.upper()]},
        {"announcers": [SigningKey(bytes([n]) * 32).keyid for n in range(5)]},
    ],
)
def test_root_with_impossible_keys_or_threshold(changes: Mapping[str, object]) -> None:
    body = {**root_document(2), **changes}
    body = {name: value for name, value in body.items() if value is not None}
    assert_not_followed(signed_root(body), BadField)


def test_malformed_roots_are_refused_like_manifests() -> None:
    assert_not_followed(ROOT_2 + b" " * 65_536, TooLarge)
    doubled = ROOT_2.replace(b'"version": 2', b'"version": 2, "version": 3')
    assert_not_followed(doubled, DuplicateKey)


def test_small_order_key_signs_no_root() -> None:
    """A key for which everything verifies under lax rules is as good as no key."""
    weak = "ed25519:" + "01" + "00" * 31
    body = root_document(2, root={"keys": [weak], "threshold": 1})
    forged = base64.b64encode(bytes([1]) + bytes(63)).decode()
    entries = [*signatures_of(body, [ROOT_KEY]), {"keyid": weak, "sig": forged}]
    raw = json.dumps({**body, "signatures": entries}).encode()
    assert_not_followed(raw, RootNotBySelf)


def test_any_flipped_bit_of_a_root_is_detected() -> None:
    for position in range(len(ROOT_2)):
        for bit in range(8):
            mutated = bytearray(ROOT_2)
            mutated[position] ^= 1 << bit
            try:
                after = chain().extended(bytes(mutated))
            except Refusal:
                continue
            assert after.identity == chain().extended(ROOT_2).identity


def test_endless_roots_are_followed_up_to_the_bound() -> None:
    root = chain().extended(ROOT_2).newest
    assert isinstance(root, Root)
    longest = Chain(first_root(), (root,) * MAX_ROOTS)
    assert longest.next_version is None
    with pytest.raises(NoRootToFollow):
        longest.extended(signed_root(root_document(3)))


def test_policy_that_names_keys_follows_no_root() -> None:
    fixed = Chain(TRUST)
    assert fixed.next_version is None
    with pytest.raises(NoRootToFollow):
        fixed.extended(ROOT_2)
    assert fixed.trust("stable", NOW) == TRUST


def test_trusted_root_without_a_signature() -> None:
    with pytest.raises(RootNotBySelf):
        load_trusted(json.dumps(root_document()).encode())
    with pytest.raises(RootNotBySelf):
        load_trusted(signed_root(root_document(), SigningKey(b"\x77" * 32)))


def test_signed_bytes_of_a_root_leave_out_nothing_but_signatures() -> None:
    body = root_document()
    assert signed_bytes({**body, "signatures": []}) == signed_bytes(body)
    assert signed_bytes({**body, "extra": 1}) != signed_bytes(body)
    assert signed_bytes(body).startswith(b"phase-boot-root-v1\n{")
