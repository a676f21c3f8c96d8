"""The highest versions that this stick has seen signed, and how far what it wrote down is believed.

The state is a list of whole manifests with their signatures: nobody can raise a floor with it
without a publisher's key, and nobody's floor survives the key that signed it (a fast-forward by a
stolen key ends with its revocation). Whoever can write to the stick can put an older state back,
or remove it all: then the lowest version of the policy is what is left (docs/adr/0005-trust.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.trust.chain import Chain
from phase_boot.trust.fields import list_of, parsed, table_of
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal, StateForeign, StateTampered, StateUnreadable
from phase_boot.trust.signatures import Trust
from phase_boot.trust.strict_json import MAX_BYTES, MAX_DEPTH, canonical, read_document
from phase_boot.trust.verify import SignedManifest, check_signatures

SCHEMA: Final = "phase-boot-state-v1"
MAX_SEEN: Final = 8
"""Channels and architectures that are remembered: a stick has one of each, a desktop some."""
MAX_STATE_BYTES: Final = (MAX_SEEN + 1) * MAX_BYTES
_NESTING: Final = 2
"""Levels that the state puts around a manifest."""


@dataclass(frozen=True, slots=True)
class RollbackState:
    """The highest manifest of each channel and architecture; expired ones count as well."""

    manifests: tuple[SignedManifest, ...] = ()

    def floor(self, channel: str, arch: Arch) -> Version | None:
        """Return the version below which nothing of ``channel`` is booted, if one was seen."""
        newest = self.newest(channel, arch)
        return newest.manifest.version if newest else None

    def newest(self, channel: str, arch: Arch) -> SignedManifest | None:
        """Return the highest manifest of ``channel`` for ``arch``, if one was seen."""
        for known in self.manifests:
            if _place(known.manifest) == (channel, arch):
                return known
        return None

    @property
    def issued(self) -> datetime | None:
        """When the newest of them was issued: no clock is believed that is behind it."""
        return max((known.manifest.issued for known in self.manifests), default=None)

    def no_earlier(self, now: datetime) -> datetime:
        """Return ``now``, or when the newest manifest was issued if the clock is behind that."""
        return max(now, self.issued or now)

    def including(self, fresh: SignedManifest) -> RollbackState:
        """Return what was seen with ``fresh`` as well: ``self`` if that is nothing higher."""
        place = _place(fresh.manifest)
        others = []
        for known in self.manifests:
            if _place(known.manifest) != place:
                others.append(known)
            elif _height(known.manifest) >= _height(fresh.manifest):
                return self
        others.sort(key=lambda known: known.manifest.issued, reverse=True)
        return RollbackState((fresh, *others[: MAX_SEEN - 1]))

    def under(self, chain: Chain) -> RollbackState:
        """Return what still counts: what publishers signed whom the newest root still names."""
        return RollbackState(
            tuple(k for k in self.manifests if _signed(k.document, chain) is not None)
        )


def write_state(seen: RollbackState, chain: Chain) -> bytes:
    """Return the state as it is kept on Cache, bound to the newest root of ``chain``."""
    content = {
        "schema": SCHEMA,
        "root": str(chain.identity),
        "seen": [dict(known.document) for known in seen.manifests],
    }
    return canonical(content)


def read_state(raw: bytes, chain: Chain) -> tuple[RollbackState, tuple[Refusal, ...]]:
    """Return what of a kept state counts under ``chain``, and every reason to doubt the rest."""
    try:
        root, entries = _parse(raw)
    except Refusal as refusal:
        return RollbackState(), (StateUnreadable(reason=refusal.code),)
    foreign = root not in chain.identities
    doubts: list[Refusal] = [StateForeign()] if foreign else []
    seen = RollbackState()
    for entry in entries:
        known = _signed(entry, chain)
        if known is not None:
            seen = seen.including(known)
        elif not foreign and not _was_signed(entry, chain):
            doubts.append(StateTampered(reason="nobody who was ever trusted signed it"))
    return seen, tuple(doubts)


def entries_of(raw: bytes) -> list[Mapping[str, object]]:
    """Return the manifests that a kept state holds, believed by nobody yet.

    Raises:
        Refusal: it is no state.
    """
    return _parse(raw)[1]


def _parse(raw: bytes) -> tuple[Digest, list[Mapping[str, object]]]:
    document = read_document(raw, limit=MAX_STATE_BYTES, depth=MAX_DEPTH + _NESTING)
    parsed(document.get("schema"), "schema", _this_schema)
    root = parsed(document.get("root"), "root", Digest.parse)
    entries = list_of(document.get("seen"), "seen", most=MAX_SEEN)
    return root, [table_of(entry, "seen") for entry in entries]


def _this_schema(text: str) -> str:
    if text != SCHEMA:
        raise ValueError(f"not {SCHEMA}")
    return text


def _signed(document: Mapping[str, object], chain: Chain) -> SignedManifest | None:
    """Return the manifest if those whom the newest root names for its channel signed it."""
    trust = chain.trusts(_channel(document))
    return None if trust is None else _signed_by(document, trust)


def _was_signed(document: Mapping[str, object], chain: Chain) -> bool:
    """Say whether publishers signed it whom any root of the chain names."""
    trusted = chain.ever_trusted(_channel(document))
    return any(_signed_by(document, trust) is not None for trust in trusted)


def _signed_by(document: Mapping[str, object], trust: Trust) -> SignedManifest | None:
    try:
        return check_signatures(document, trust)
    except Refusal:
        return None


def _channel(document: Mapping[str, object]) -> str:
    """Return the channel that an entry claims to be of; no channel has the empty name."""
    value = document.get("channel")
    return value if isinstance(value, str) else ""


def _place(manifest: Manifest) -> tuple[str, Arch]:
    return manifest.channel, manifest.arch


def _height(manifest: Manifest) -> tuple[Version, datetime]:
    return manifest.version, manifest.issued
