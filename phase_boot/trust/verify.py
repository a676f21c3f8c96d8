"""The one door from bytes to a manifest that may be booted."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from phase_boot.store.digest import Digest
from phase_boot.trust.arch import Arch
from phase_boot.trust.document import read_document
from phase_boot.trust.keys import is_signed_by, parse_keyid
from phase_boot.trust.manifest import Manifest, parse_channel, signed_bytes
from phase_boot.trust.refusals import (
    BadField,
    BadSignature,
    ClockDoubtful,
    Expired,
    ThresholdNotMet,
    TooOld,
    Unsigned,
    UntrustedSigner,
    WrongArchitecture,
    WrongChannel,
)
from phase_boot.trust.version import Version

MAX_SIGNATURES: Final = 32
SKEW: Final = timedelta(hours=24)
"""How far ``issued`` may lie ahead: a clock kept in local time is wrong by up to 14 hours."""
_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count, and how many different ones are needed.

    Raises:
        ValueError: no key, a text that is no key id, or a threshold that nothing or nobody meets.
    """

    keys: frozenset[str]
    threshold: int

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("trust needs at least one key: an empty list would trust nobody")
        for keyid in self.keys:
            parse_keyid(keyid)
        if not 1 <= self.threshold <= len(self.keys):
            raise ValueError(
                f"the threshold is {self.threshold} and must be from 1 to the {len(self.keys)} keys"
            )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this machine may boot."""

    arch: Arch
    channel: str
    min_version: Version

    def __post_init__(self) -> None:
        parse_channel(self.channel)


class Verified:
    """A manifest that enough trusted keys signed and that fits this machine, now.

    Only ``verify`` makes one.
    """

    __slots__ = ("digest", "manifest", "raw", "signers")

    manifest: Manifest
    raw: bytes
    """The file, byte for byte."""
    signers: tuple[str, ...]
    """Key ids of the trusted keys whose signatures hold, sorted."""
    digest: Digest
    """Of ``raw``."""

    def __init__(
        self, manifest: Manifest, raw: bytes, signers: tuple[str, ...], *, seal: object = None
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("only phase_boot.trust.verify makes a Verified")
        object.__setattr__(self, "manifest", manifest)
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "signers", signers)
        object.__setattr__(self, "digest", Digest.of(raw))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Verified never changes: {name}")

    def __repr__(self) -> str:
        return f"Verified({self.manifest.channel} {self.manifest.arch} {self.manifest.version})"


def verify(raw: bytes, *, trust: Trust, wanted: Wanted, now: datetime) -> Verified:
    """Return what ``raw`` says if it may be booted.

    ``now`` is an aware time, fixed once per run. Signatures are judged before anything else the
    manifest says, dates after what it is for.

    Raises:
        Refusal: the first check that fails.
    """
    manifest, signers = authenticate(raw, trust)
    _check_fits(manifest, wanted)
    _check_dates(manifest, now)
    if manifest.version < wanted.min_version:
        raise TooOld(found=manifest.version, wanted=wanted.min_version)
    return Verified(manifest, raw, signers, seal=_SEAL)


def authenticate(raw: bytes, trust: Trust) -> tuple[Manifest, tuple[str, ...]]:
    """Return who of ``trust`` signed ``raw`` and what it says, whatever it is for and however old.

    Raises:
        Refusal: not a manifest, or not signed by enough trusted keys.
    """
    document = read_document(raw)
    signers = _signers(document, trust)
    return Manifest.of(document), signers


def _signers(document: Mapping[str, object], trust: Trust) -> tuple[str, ...]:
    signatures = list(_signatures(document))
    if not signatures:
        raise Unsigned
    # An own signature that does not verify must not hide another one that does.
    claims = [(keyid, sig) for keyid, sig in signatures if keyid in trust.keys]
    message = signed_bytes(document)
    valid = {keyid for keyid, sig in claims if is_signed_by(keyid, message, _decoded(sig))}
    if len(valid) >= trust.threshold:
        return tuple(sorted(valid))
    if not claims:
        raise UntrustedSigner
    if not valid:
        raise BadSignature(keyid=claims[0][0])
    raise ThresholdNotMet(valid=len(valid), threshold=trust.threshold)


def _signatures(document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    entries = document.get("signatures", [])
    if not isinstance(entries, list) or len(entries) > MAX_SIGNATURES:
        raise BadField(field="signatures", reason=f"not a list of at most {MAX_SIGNATURES}")
    for entry in entries:
        match entry:
            case {"keyid": str(keyid), "sig": str(sig)}:
                yield keyid, sig
            case _:
                raise BadField(field="signatures", reason="an entry is not a keyid and a sig")


def _decoded(sig: str) -> bytes:
    """Return the bytes of canonical base64, or none at all for anything else."""
    try:
        data = base64.b64decode(sig, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode("ascii") == sig else b""


def _check_fits(manifest: Manifest, wanted: Wanted) -> None:
    if manifest.arch is not wanted.arch:
        raise WrongArchitecture(found=manifest.arch, wanted=wanted.arch)
    if manifest.channel != wanted.channel:
        raise WrongChannel(found=manifest.channel, wanted=wanted.channel)


def _check_dates(manifest: Manifest, now: datetime) -> None:
    if now >= manifest.expires:
        raise Expired(expires=manifest.expires, now=now)
    if manifest.issued > now + SKEW:
        raise ClockDoubtful(issued=manifest.issued, now=now)
