"""Verifies a manifest: the only way from bytes to a manifest that may be booted.

The order of the checks is that of the trust in what they read: signatures first, then the purpose,
the dates, and the version last. Only `verify` can make a `Verified`, so a function that takes one
needs no check of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.trust.fields import parse_channel
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.refusals import (
    BadSignature,
    ClockDoubtful,
    Expired,
    SeenNewer,
    ThresholdNotMet,
    TooOld,
    Unsigned,
    UntrustedSigner,
    WrongArchitecture,
    WrongChannel,
)
from phase_boot.trust.signatures import Trust, claims_of, valid_signers
from phase_boot.trust.strict_json import read_document

SKEW: Final = timedelta(hours=24)
"""How far ``issued`` may be in the future: a clock in local time is wrong by up to 14 hours."""
_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class BootRequirements:
    """What this machine may boot: ``floor`` is the highest version that it has seen signed."""

    arch: Arch
    channel: str
    min_version: Version
    floor: Version | None = None

    def __post_init__(self) -> None:
        parse_channel(self.channel)


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest with a threshold of trusted signatures; its purpose and dates are not checked."""

    manifest: Manifest
    document: Mapping[str, object]
    """The whole parsed document, with its signatures."""
    signers: tuple[str, ...]
    """Key ids of the trusted keys with valid signatures, sorted."""


class Verified:
    """A manifest with a threshold of trusted signatures that this machine may boot now.

    Only ``verify`` makes one.
    """

    __slots__ = ("digest", "found", "raw")

    found: SignedManifest
    raw: bytes
    """The file, byte for byte."""
    digest: Digest
    """Digest of ``raw``."""

    def __init__(self, found: SignedManifest, raw: bytes, *, seal: object = None) -> None:
        if seal is not _SEAL:
            raise TypeError("only phase_boot.trust.verify makes a Verified")
        object.__setattr__(self, "found", found)
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "digest", Digest.of(raw))

    @property
    def manifest(self) -> Manifest:
        """The fields of the manifest."""
        return self.found.manifest

    @property
    def signers(self) -> tuple[str, ...]:
        """Key ids of the trusted keys with valid signatures, sorted."""
        return self.found.signers

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Verified is immutable: {name}")

    def __repr__(self) -> str:
        return f"Verified({self.manifest.channel} {self.manifest.arch} {self.manifest.version})"


def verify(raw: bytes, *, trust: Trust, requirements: BootRequirements, now: datetime) -> Verified:
    """Return the manifest in ``raw`` if it may be booted.

    ``now`` is an aware time, fixed once per run.

    Raises:
        Refusal: the first check that fails.
    """
    found = authenticate(raw, trust)
    _check_fits(found.manifest, requirements)
    _check_dates(found.manifest, now)
    _check_version(found.manifest, requirements)
    return Verified(found, raw, seal=_SEAL)


def authenticate(raw: bytes, trust: Trust) -> SignedManifest:
    """Return the manifest in ``raw`` if a threshold of trusted keys signed it.

    Raises:
        Refusal: it is not a manifest, or too few trusted keys signed it.
    """
    return check_signatures(read_document(raw), trust)


def check_signatures(document: Mapping[str, object], trust: Trust) -> SignedManifest:
    """Return a parsed manifest if a threshold of trusted keys signed it.

    Raises:
        Refusal: too few trusted keys signed it, or a field is not usable.
    """
    signers = _signers(document, trust)
    return SignedManifest(Manifest.of(document), document, signers)


def _signers(document: Mapping[str, object], trust: Trust) -> tuple[str, ...]:
    claims = claims_of(document)
    if not claims:
        raise Unsigned
    valid = valid_signers(claims, signed_bytes(document), trust.keys)
    if len(valid) >= trust.threshold:
        return tuple(sorted(valid))
    named = [claim.keyid for claim in claims if claim.keyid in trust.keys]
    if not named:
        raise UntrustedSigner
    if not valid:
        raise BadSignature(keyid=named[0])
    raise ThresholdNotMet(valid=len(valid), threshold=trust.threshold)


def _check_fits(manifest: Manifest, requirements: BootRequirements) -> None:
    if manifest.arch is not requirements.arch:
        raise WrongArchitecture(found=manifest.arch, wanted=requirements.arch)
    if manifest.channel != requirements.channel:
        raise WrongChannel(found=manifest.channel, wanted=requirements.channel)


def _check_dates(manifest: Manifest, now: datetime) -> None:
    if now >= manifest.expires:
        raise Expired(expires=manifest.expires, now=now)
    if is_ahead(manifest.issued, now):
        raise ClockDoubtful(issued=manifest.issued, now=now)


def is_ahead(issued: datetime, now: datetime) -> bool:
    """Return whether ``issued`` is further in the future than a wrong clock explains."""
    # The difference of two dates cannot overflow; a date plus a span can.
    return issued - now > SKEW


def _check_version(manifest: Manifest, requirements: BootRequirements) -> None:
    if manifest.version < requirements.min_version:
        raise TooOld(found=manifest.version, wanted=requirements.min_version)
    if requirements.floor is not None and manifest.version < requirements.floor:
        raise SeenNewer(found=manifest.version, seen=requirements.floor)
