from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import NOW, PUBLISHER
from phase_boot.drill.sample_root import NEW_PUBLISHER, ROOT_2, channel, root_document, signed_root
from phase_boot.trust.chain import MAX_ROOTS, Chain
from phase_boot.trust.refusals import ChannelUnknown, DelegationExpired, NoRootToFollow
from phase_boot.trust.root import load_trusted
from phase_boot.trust.signatures import Trust
from tests.support.manifests import SECOND, TRUST
from tests.support.roots import first_root

EXPIRES = datetime(2026, 11, 1, tzinfo=UTC)
NEW_TRUST = Trust(frozenset({NEW_PUBLISHER.keyid}), 1)


def two_roots() -> Chain:
    return Chain(first_root()).extended(ROOT_2)


def test_the_newest_root_counts() -> None:
    short, long = Chain(first_root()), two_roots()
    assert (short.version, short.next_version) == (1, 2)
    assert (long.version, long.next_version) == (2, 3)
    assert short.newest is short.trusted
    assert long.newest is long.later[-1]
    assert short.trust("stable", NOW) == TRUST
    assert long.trust("stable", NOW) == NEW_TRUST
    assert long.trusts("stable") == NEW_TRUST
    assert long.trusts("lab") is None


def test_a_chain_only_gets_longer() -> None:
    short = Chain(first_root())
    long = short.extended(ROOT_2)
    third = long.extended(signed_root(root_document(3)))
    assert short.later == ()
    assert third.later[:1] == long.later
    assert [root.version for root in third.later] == [2, 3]


def test_a_chain_remembers_all_that_ever_counted() -> None:
    short, long = Chain(first_root()), two_roots()
    assert short.identity == first_root().digest
    assert short.identities == {short.identity}
    assert long.identities == {short.identity, long.identity}
    assert long.identity == long.later[-1].digest


def test_the_publishers_of_all_roots_are_named_newest_first() -> None:
    third = two_roots().extended(signed_root(root_document(3, channels={"lab": channel(SECOND)})))
    assert third.ever_trusted("stable") == (NEW_TRUST, TRUST)
    assert third.ever_trusted("lab") == (Trust(frozenset({SECOND.keyid}), 1),)
    assert third.ever_trusted("beta") == ()
    assert third.trusts("stable") is None


def test_the_announcing_keys_are_those_of_the_newest_root() -> None:
    first = Chain(first_root())
    both = [SECOND.keyid, NEW_PUBLISHER.keyid]
    second = first.extended(signed_root(root_document(2, announcers=both)))
    third = second.extended(signed_root(root_document(3, announcers=both[1:])))
    assert first.announcers == ()
    assert second.announcers == (SECOND.keyid, NEW_PUBLISHER.keyid)
    assert third.announcers == (NEW_PUBLISHER.keyid,)
    assert third.extended(signed_root(root_document(4))).announcers == ()


def test_a_delegation_counts_to_its_last_moment() -> None:
    chain = Chain(first_root())
    assert chain.trust("stable", EXPIRES - timedelta(microseconds=1)) == TRUST
    with pytest.raises(
        DelegationExpired,
        match=r"^Root 1 named the publishers of stable until 2026-11-01T00:00:00Z and it is 2026",
    ):
        chain.trust("stable", EXPIRES)
    assert chain.trusts("stable") == TRUST
    assert chain.ever_trusted("stable") == (TRUST,)


def test_a_channel_that_no_root_names_is_refused_by_name() -> None:
    with pytest.raises(ChannelUnknown, match=r"^Root 2 names no publisher of channel lab:"):
        two_roots().trust("lab", NOW)


def test_keys_of_a_policy_publish_every_channel_for_ever_and_follow_no_root() -> None:
    chain = Chain(TRUST)
    assert (chain.version, chain.next_version, chain.later) == (None, None, ())
    assert chain.newest is TRUST
    assert chain.announcers == ()
    assert chain.trust("anything", EXPIRES) == TRUST
    assert chain.trusts("anything") == TRUST
    assert chain.ever_trusted("anything") == (TRUST,)
    with pytest.raises(NoRootToFollow, match=r"\(the policy names keys and no root\)"):
        chain.extended(ROOT_2)


def test_the_identity_of_a_policys_keys_is_theirs_and_their_thresholds() -> None:
    keys = frozenset({PUBLISHER.keyid, SECOND.keyid})
    one, two = Chain(Trust(keys, 1)), Chain(Trust(keys, 2))
    listed = ",".join(f'"{keyid}"' for keyid in sorted(keys))
    assert one.identity == Digest.of(f'{{"keys":[{listed}],"threshold":1}}'.encode())
    assert one.identities == {one.identity}
    assert len({one.identity, two.identity, Chain(TRUST).identity}) == 3


def test_a_chain_ends_after_256_roots_and_not_before() -> None:
    root = load_trusted(signed_root(root_document(2)))
    links = tuple(replace(root, version=number + 2) for number in range(MAX_ROOTS))
    almost = Chain(first_root(), links[:-1])
    assert almost.next_version == 257
    full = almost.extended(signed_root(root_document(257)))
    assert len(full.later) == MAX_ROOTS == 256
    assert full.next_version is None
    with pytest.raises(NoRootToFollow, match=r"\(256 came after the one in the image\)"):
        full.extended(signed_root(root_document(258)))
