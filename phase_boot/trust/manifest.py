"""What a publisher says about one version of an OS."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self, TypeVar

import rfc8785

from phase_boot.store.digest import Digest
from phase_boot.trust.arch import Arch
from phase_boot.trust.refusals import BadField
from phase_boot.trust.version import Version

REQUIRED: Final = ("kernel", "initramfs", "rootfs")
"""Artifacts without which nothing can be booted."""
CONTEXT: Final = b"phase-boot-manifest-v1\n"
"""What the signed bytes start with, so that no signature fits two kinds of document."""
MAX_ARTIFACTS: Final = 32
MAX_SIZE: Final = 2**40
"""Bytes of one artifact."""
MAX_CMDLINE: Final = 1024
"""Characters of the target's command line: half of what the kernel takes, the rest is ours."""
MAX_MIRRORS: Final = 16

_CHANNEL: Final = re.compile(r"[a-z0-9-]{1,32}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CMDLINE: Final = re.compile(rf"[ -~]{{0,{MAX_CMDLINE}}}")
_MIRROR: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]{1,255}(/[!-~]{0,255})?")
_CID: Final = re.compile(r"[A-Za-z0-9]{8,128}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of an OS: what it is for, the sha256 of its bytes, and how many there are."""

    name: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The fields of a manifest that are used; unknown ones count for the signature only."""

    version: Version
    channel: str
    arch: Arch
    artifacts: Mapping[str, Artifact]
    cmdline: str
    issued: datetime
    expires: datetime
    mirrors: tuple[str, ...]
    dags: Mapping[str, str]

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Self:
        """Read the fields of a parsed manifest.

        Raises:
            BadField: one is missing, of another type, or out of its bounds.
        """
        artifacts = _artifacts(document)
        manifest = cls(
            version=_parsed(document.get("version"), "version", Version.parse),
            channel=_parsed(document.get("channel"), "channel", parse_channel),
            arch=_parsed(document.get("arch"), "arch", Arch.parse),
            artifacts=MappingProxyType(artifacts),
            cmdline=_matching(document.get("cmdline", ""), "cmdline", _CMDLINE),
            issued=_parsed(document.get("issued"), "issued", parse_date),
            expires=_parsed(document.get("expires"), "expires", parse_date),
            mirrors=_mirrors(document),
            dags=MappingProxyType(_dags(document, artifacts)),
        )
        if manifest.expires <= manifest.issued:
            raise BadField(field="expires", reason="not later than issued")
        return manifest


def signed_bytes(document: Mapping[str, object]) -> bytes:
    """Return the bytes that a signature of ``document`` covers: all of it but ``signatures``."""
    # The strict reader leaves only str, int, bool, None, dict and list: all that RFC 8785 needs.
    body = {name: value for name, value in document.items() if name != "signatures"}
    return CONTEXT + rfc8785.dumps(body)  # type: ignore[arg-type]


def parse_channel(text: str) -> str:
    """Return ``text`` if it can name a channel; raise ValueError otherwise."""
    if not _CHANNEL.fullmatch(text):
        raise ValueError("a channel is 1 to 32 of a-z, 0-9 and -")
    return text


def parse_date(text: str) -> datetime:
    """Read an RFC 3339 date in UTC, such as 2025-11-12T08:00:00Z; raise ValueError otherwise."""
    if not _DATE.fullmatch(text):
        raise ValueError("a date is written as 2025-11-12T08:00:00Z")
    return datetime.fromisoformat(text)


def _parsed(value: object, field: str, parse: Callable[[str], _T]) -> _T:
    text = _text(value, field)
    try:
        return parse(text)
    except ValueError as error:
        raise BadField(field=field, reason=error) from None


def _text(value: object, field: str) -> str:
    if value is None:
        raise BadField(field=field, reason="missing")
    if not isinstance(value, str):
        raise BadField(field=field, reason="not a text")
    return value


def _matching(value: object, field: str, shape: re.Pattern[str]) -> str:
    text = _text(value, field)
    if not shape.fullmatch(text):
        raise BadField(field=field, reason="too long, or with characters that do not belong there")
    return text


def _table(document: Mapping[str, object], field: str) -> Mapping[str, object]:
    value = document.get(field)
    if not isinstance(value, dict):
        raise BadField(field=field, reason="missing" if value is None else "not an object")
    return value


def _artifacts(document: Mapping[str, object]) -> dict[str, Artifact]:
    digests, sizes = _table(document, "artifacts"), _table(document, "sizes")
    if len(digests) > MAX_ARTIFACTS:
        raise BadField(field="artifacts", reason=f"more than {MAX_ARTIFACTS}")
    for name in REQUIRED:
        if name not in digests:
            raise BadField(field=f"artifacts.{name}", reason="missing")
    for name in sizes:
        if name not in digests:
            raise BadField(field=f"sizes.{name}", reason="no such artifact")
    return {name: _artifact(name, digests, sizes) for name in digests}


def _artifact(name: str, digests: Mapping[str, object], sizes: Mapping[str, object]) -> Artifact:
    field = f"artifacts.{name}"
    if not _NAME.fullmatch(name):
        raise BadField(field=field, reason="not a name")
    size = sizes.get(name)
    # A bool is an int to Python, and no size to anybody else.
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SIZE:
        raise BadField(field=f"sizes.{name}", reason=f"not a number of bytes from 1 to {MAX_SIZE}")
    return Artifact(name, _parsed(digests[name], field, Digest.parse), size)


def _mirrors(document: Mapping[str, object]) -> tuple[str, ...]:
    value = document.get("mirrors", [])
    if not isinstance(value, list) or len(value) > MAX_MIRRORS:
        raise BadField(field="mirrors", reason=f"not a list of at most {MAX_MIRRORS} addresses")
    return tuple(_matching(mirror, "mirrors", _MIRROR) for mirror in value)


def _dags(document: Mapping[str, object], artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    if "dags" not in document:
        return {}
    dags = _table(document, "dags")
    for name in dags:
        if name not in artifacts:
            raise BadField(field=f"dags.{name}", reason="no such artifact")
    return {name: _matching(cid, f"dags.{name}", _CID) for name, cid in dags.items()}
