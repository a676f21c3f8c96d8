"""The one door from bytes to a manifest that may be booted."""

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
"""How far ``issued`` may lie ahead: a clock kept in local time is wrong by up to 14 hours."""
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
    """A manifest that enough trusted keys signed, whatever it is for and however old."""

    manifest: Manifest
    document: Mapping[str, object]
    """All of it as it was parsed, signatures included."""
    signers: tuple[str, ...]
    """Key ids of the trusted keys whose signatures hold, sorted."""


class Verified:
    """A manifest that enough trusted keys signed and that fits this machine, now.

    Only ``verify`` makes one.
    """

    __slots__ = ("digest", "found", "raw")

    found: SignedManifest
    raw: bytes
    """The file, byte for byte."""
    digest: Digest
    """Of ``raw``."""

    def __init__(self, found: SignedManifest, raw: bytes, *, seal: object = None) -> None:
        if seal is not _SEAL:
            raise TypeError("only phase_boot.trust.verify makes a Verified")
        object.__setattr__(self, "found", found)
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "digest", Digest.of(raw))

    @property
    def manifest(self) -> Manifest:
        """What it says."""
        return self.found.manifest

    @property
    def signers(self) -> tuple[str, ...]:
        """Key ids of the trusted keys whose signatures hold, sorted."""
        return self.found.signers

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Verified never changes: {name}")

    def __repr__(self) -> str:
        return f"Verified({self.manifest.channel} {self.manifest.arch} {self.manifest.version})"


def verify(raw: bytes, *, trust: Trust, requirements: BootRequirements, now: datetime) -> Verified:
    """Return what ``raw`` says if it may be booted.

    ``now`` is an aware time, fixed once per run. Signatures are judged before anything else the
    manifest says, dates after what it is for, versions last.

    Raises:
        Refusal: the first check that fails.
    """
    found = authenticate(raw, trust)
    _check_fits(found.manifest, requirements)
    _check_dates(found.manifest, now)
    _check_version(found.manifest, requirements)
    return Verified(found, raw, seal=_SEAL)


def authenticate(raw: bytes, trust: Trust) -> SignedManifest:
    """Return what ``raw`` says and who of ``trust`` signed it.

    Raises:
        Refusal: not a manifest, or not signed by enough trusted keys.
    """
    return check_signatures(read_document(raw), trust)


def check_signatures(document: Mapping[str, object], trust: Trust) -> SignedManifest:
    """Return what a parsed manifest says and who of ``trust`` signed it.

    Raises:
        Refusal: not signed by enough trusted keys, or a field is not usable.
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
    """Tell whether ``issued`` lies further ahead of ``now`` than a wrong clock explains."""
    # The difference of two dates cannot overflow; a date plus a span can.
    return issued - now > SKEW


def _check_version(manifest: Manifest, requirements: BootRequirements) -> None:
    if manifest.version < requirements.min_version:
        raise TooOld(found=manifest.version, wanted=requirements.min_version)
    if requirements.floor is not None and manifest.version < requirements.floor:
        raise SeenNewer(found=manifest.version, seen=requirements.floor)
