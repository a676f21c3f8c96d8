"""The rollback state: the highest manifests that this stick has seen signed.

The state is a list of whole manifests with their signatures. So a floor can only be raised with a
key of a publisher, and it ends when that key is revoked, which undoes a fast-forward attack with a
stolen key (TUF specification, section 5.3.11). A writer of the stick can restore an older state or
remove it; then the lowest version of the policy is the floor (docs/adr/0005-trust.md).
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
TRUST_FOLDER: Final = "trust"
"""Folder of roots and rollback state beside the artifacts of a store."""
MAX_SEEN: Final = 8
"""Pairs of channel and architecture that are kept; a stick has one, a desktop several."""
MAX_STATE_BYTES: Final = (MAX_SEEN + 1) * MAX_BYTES
_NESTING: Final = 2
"""Levels of nesting around a manifest in the state."""


@dataclass(frozen=True, slots=True)
class RollbackState:
    """The highest manifest of each channel and architecture; expired ones count too."""

    manifests: tuple[SignedManifest, ...] = ()

    def floor(self, channel: str, arch: Arch) -> Version | None:
        """Return the version below which ``channel`` is not booted; None if none was seen."""
        newest = self.newest(channel, arch)
        return newest.manifest.version if newest else None

    def newest(self, channel: str, arch: Arch) -> SignedManifest | None:
        """Return the highest manifest of ``channel`` for ``arch``; None if none was seen."""
        for known in self.manifests:
            if _place(known.manifest) == (channel, arch):
                return known
        return None

    @property
    def issued(self) -> datetime | None:
        """When the newest of them was issued: the time is not earlier."""
        return max((known.manifest.issued for known in self.manifests), default=None)

    def no_earlier(self, now: datetime) -> datetime:
        """Return ``now``, or when the newest manifest was issued if the clock is behind that."""
        return max(now, self.issued or now)

    def including(self, fresh: SignedManifest) -> RollbackState:
        """Return the state with ``fresh`` in it; ``self`` if ``fresh`` is not higher."""
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
        """Return the manifests whose signers are still publishers in the newest root."""
        return RollbackState(
            tuple(k for k in self.manifests if _signed(k.document, chain) is not None)
        )


def write_state(seen: RollbackState, chain: Chain) -> bytes:
    """Return the file of the state, bound to the newest root of ``chain``."""
    content = {
        "schema": SCHEMA,
        "root": str(chain.identity),
        "seen": [dict(known.document) for known in seen.manifests],
    }
    return canonical(content)


def read_state(raw: bytes, chain: Chain) -> tuple[RollbackState, tuple[Refusal, ...]]:
    """Return the entries of a stored state that count under ``chain``, and why others do not."""
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
            doubts.append(StateTampered(reason="no trusted key ever signed it"))
    return seen, tuple(doubts)


def entries_of(raw: bytes) -> list[Mapping[str, object]]:
    """Return the manifests of a stored state, not verified.

    Raises:
        Refusal: the bytes are not a state.
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
    """Return the manifest if the publishers of the newest root signed it, else None."""
    trust = chain.trusts(_channel(document))
    return None if trust is None else _signed_by(document, trust)


def _was_signed(document: Mapping[str, object], chain: Chain) -> bool:
    """Return whether the publishers of any root of the chain signed it."""
    trusted = chain.ever_trusted(_channel(document))
    return any(_signed_by(document, trust) is not None for trust in trusted)


def _signed_by(document: Mapping[str, object], trust: Trust) -> SignedManifest | None:
    try:
        return check_signatures(document, trust)
    except Refusal:
        return None


def _channel(document: Mapping[str, object]) -> str:
    """Return the channel that an entry names, or "", which names no channel."""
    value = document.get("channel")
    return value if isinstance(value, str) else ""


def _place(manifest: Manifest) -> tuple[str, Arch]:
    return manifest.channel, manifest.arch


def _height(manifest: Manifest) -> tuple[Version, datetime]:
    return manifest.version, manifest.issued
