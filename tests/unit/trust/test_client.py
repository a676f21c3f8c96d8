"""The update workflow, with one source in memory or several that share an `Updater`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import NOW, PUBLISHER, UNTRUSTED_KEY, document, signed
from phase_boot.drill.sample_root import NEW_PUBLISHER, ROOT_1, ROOT_2, root_document, signed_root
from phase_boot.trust.chain import Chain
from phase_boot.trust.client import Updater
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import (
    Expired,
    Refusal,
    RootNotByPrevious,
    SeenNewer,
    TooOld,
    UntrustedSigner,
)
from phase_boot.trust.rollback import RollbackState
from phase_boot.trust.root import load_trusted
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import Verified
from tests.support.manifests import REQUIREMENTS

OLD, NEW = "2025.11.12", "2025.11.13"
MANY = 1000


def manifest(version: str = OLD, *, key: SigningKey = PUBLISHER, **changes: object) -> bytes:
    return signed(document(version=version, **changes), key)


@dataclass
class Source:
    """A source in memory; it records what the workflow reads and keeps, in order."""

    document: bytes = field(default_factory=manifest)
    roots: dict[int, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    before_root: Callable[[], None] = lambda: None

    async def root(self, version: int) -> bytes | None:
        self.steps.append(f"root {version}")
        self.before_root()
        return self.roots.get(version)

    async def manifest(self) -> bytes:
        self.steps.append("manifest")
        return self.document

    async def keep_root(self, version: int, raw: bytes) -> None:
        assert raw == self.roots[version]
        self.steps.append(f"keep root {version}")

    async def keep_state(self) -> None:
        self.steps.append("keep state")


def rooted(seen: RollbackState | None = None) -> Updater:
    return Updater(Chain(load_trusted(ROOT_1)), seen)


async def update(updater: Updater, source: Source) -> Verified:
    return await updater.update(source, REQUIREMENTS, NOW)


def floor(updater: Updater) -> Version | None:
    return updater.seen.floor(REQUIREMENTS.channel, REQUIREMENTS.arch)


async def test_the_roots_are_followed_before_the_manifest_is_read() -> None:
    source = Source(manifest(key=NEW_PUBLISHER), {2: ROOT_2})
    updater = rooted()
    verified = await update(updater, source)
    assert verified.signers == (NEW_PUBLISHER.keyid,)
    assert source.steps == [
        "root 2",
        "keep root 2",
        "root 3",
        "manifest",
        "keep state",
    ]
    assert (updater.chain.version, floor(updater)) == (2, Version.parse(OLD))


async def test_a_policy_with_fixed_keys_asks_for_no_root() -> None:
    source = Source()
    await update(Updater(Chain(Trust(frozenset({PUBLISHER.keyid}), 1))), source)
    assert source.steps == ["manifest", "keep state"]


async def test_a_key_that_the_newest_root_revokes_signs_nothing() -> None:
    source = Source(manifest(key=PUBLISHER), {2: ROOT_2})
    updater = rooted()
    with pytest.raises(UntrustedSigner):
        await update(updater, source)
    assert updater.chain.version == 2
    assert floor(updater) is None


async def test_a_floor_that_a_revoked_key_set_ends_with_its_root() -> None:
    updater = rooted()
    await update(updater, Source(manifest("9999", key=PUBLISHER)))
    assert floor(updater) == Version.parse("9999")
    verified = await update(updater, Source(manifest(OLD, key=NEW_PUBLISHER), {2: ROOT_2}))
    assert str(verified.manifest.version) == OLD


@pytest.mark.parametrize(
    "forged",
    [
        signed_root(root_document(2), UNTRUSTED_KEY),
        signed_root(root_document(1)),
        signed_root(root_document(3)),
        b"{}",
    ],
    ids=["by a stranger", "the same again", "one skipped", "no root"],
)
async def test_a_root_that_does_not_follow_ends_the_update_and_changes_nothing(
    forged: bytes,
) -> None:
    source = Source(roots={2: forged})
    updater = rooted()
    with pytest.raises(Refusal):
        await update(updater, source)
    assert source.steps == ["root 2"]
    assert (updater.chain.version, floor(updater)) == (1, None)


async def test_roots_verified_before_a_refusal_still_count() -> None:
    source = Source(roots={2: ROOT_2, 3: signed_root(root_document(3), UNTRUSTED_KEY)})
    updater = rooted()
    with pytest.raises(RootNotByPrevious):
        await update(updater, source)
    assert updater.chain.version == 2
    assert source.steps == ["root 2", "keep root 2", "root 3"]


async def test_rollback_to_a_version_below_one_that_was_verified() -> None:
    updater = rooted()
    await update(updater, Source(manifest(NEW)))
    old = Source(manifest(OLD))
    with pytest.raises(SeenNewer):
        await update(updater, old)
    assert old.steps == ["root 2", "manifest"]
    assert floor(updater) == Version.parse(NEW)


async def test_rollback_below_a_state_that_was_read_from_disk() -> None:
    first = rooted()
    await update(first, Source(manifest(NEW)))
    with pytest.raises(SeenNewer):
        await update(rooted(first.seen), Source(manifest(OLD)))


async def test_an_expired_manifest_is_refused_and_still_raises_the_floor() -> None:
    updater = rooted()
    expired = Source(manifest(NEW, expires="2025-11-19T00:00:00Z"))
    with pytest.raises(Expired):
        await update(updater, expired)
    assert expired.steps[-1] == "keep state"
    with pytest.raises(SeenNewer):
        await update(updater, Source(manifest(OLD)))


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (signed(document(version=NEW), UNTRUSTED_KEY), UntrustedSigner),
        (signed(document(version="1")), TooOld),
    ],
    ids=["unsigned by a publisher", "below the policy's minimum"],
)
async def test_a_manifest_that_is_refused_raises_no_floor(
    raw: bytes, refusal: type[Exception]
) -> None:
    updater = rooted()
    source = Source(raw)
    with pytest.raises(refusal):
        await update(updater, source)
    assert floor(updater) is None
    assert "keep state" not in source.steps


async def test_an_expired_manifest_of_an_untrusted_key_raises_no_floor() -> None:
    updater = rooted()
    raw = signed(document(version=NEW, expires="2025-11-19T00:00:00Z"), UNTRUSTED_KEY)
    with pytest.raises(UntrustedSigner):
        await update(updater, Source(raw))
    assert floor(updater) is None


async def test_a_root_that_another_source_had_first_is_not_followed_twice() -> None:
    updater = rooted()

    def other_source() -> None:
        if updater.chain.version == 1:
            updater.chain = updater.chain.extended(ROOT_2)

    source = Source(manifest(key=NEW_PUBLISHER), {2: ROOT_2}, before_root=other_source)
    await update(updater, source)
    assert source.steps == ["root 2", "root 3", "manifest", "keep state"]
    assert updater.chain.version == 2


async def test_a_manifest_is_verified_again_after_another_source_changed_the_state() -> None:
    updater = rooted()
    verified = await update(updater, Source(manifest(OLD)))
    assert updater.verify(verified.raw, REQUIREMENTS, NOW).manifest == verified.manifest
    await update(updater, Source(manifest(NEW)))
    with pytest.raises(SeenNewer):
        updater.verify(verified.raw, REQUIREMENTS, NOW)


async def test_a_floor_given_by_the_caller_is_ignored() -> None:
    lax = replace(REQUIREMENTS, floor=None)
    updater = rooted()
    await updater.update(Source(manifest(NEW)), lax, NOW)
    with pytest.raises(SeenNewer):
        await updater.update(Source(manifest(OLD)), lax, NOW)


async def test_a_source_without_end_is_followed_no_further_than_the_bound() -> None:
    class Endless(Source):
        async def root(self, version: int) -> bytes | None:
            self.roots[version] = signed_root(root_document(version))
            return await super().root(version)

    source = Endless(manifest())
    await update(rooted(), source)
    assert len([step for step in source.steps if step.startswith("root ")]) < MANY
    assert source.steps[-2:] == ["manifest", "keep state"]


async def test_a_clock_before_the_newest_manifest_is_not_used() -> None:
    updater = rooted()
    assert updater.seen.no_earlier(NOW) == NOW
    verified = await update(updater, Source(manifest()))
    issued = verified.manifest.issued
    assert updater.seen.no_earlier(NOW) == NOW
    assert updater.seen.no_earlier(issued.replace(year=1970)) == issued
