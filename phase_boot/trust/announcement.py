"""The announcement: where the newest manifest of each channel and architecture is (SPEC M2.5).

An IPNS record carries it as a JSON text under the signed key ``_phase_boot``. It names places and
proves nothing: what is found there counts by the publishers' signatures alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid
from phase_boot.trust.fields import list_of, matching, parse_channel, parsed, table_of
from phase_boot.trust.refusals import BadField, Refusal
from phase_boot.trust.strict_json import canonical, read_document
from phase_boot.url import MAX_BASE, BadUrl, Url

FIELD: Final = "_phase_boot"
"""The key of the signed data that holds it."""
MAX_PLACES: Final = 16
MAX_MIRRORS: Final = 8
"""Mirrors of one place."""
MAX_PROVIDERS: Final = 8
"""Providers of one place."""
MAX_MULTIADDR: Final = 256
"""Characters of the address of a provider."""
MAX_DEPTH: Final = 8
"""Levels of objects and lists: three are used, the others are for fields of later versions."""

_MANIFEST: Final = "manifest.json"
_MULTIADDR: Final = re.compile(rf"/[!-~]{{1,{MAX_MULTIADDR - 1}}}")
_ARCH: Final = re.compile(r"[a-z0-9_]{1,32}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one manifest is."""

    manifest_cid: Cid
    """CID of the bytes of the manifest."""
    mirrors: tuple[str, ...] = ()
    """URLs of the manifest on mirrors. Their hosts may be any: a finder judges their scope."""
    providers: tuple[str, ...] = ()
    """Multiaddrs of IPFS nodes that provide it, not parsed."""

    @classmethod
    def of(cls, value: object, field: str) -> Self:
        """Read the JSON object of a place; unknown fields are ignored.

        Raises:
            BadField: a field is missing, of another type, or out of its bounds.
        """
        table = table_of(value, field)
        mirrors = list_of(table.get("mirrors", []), f"{field}.mirrors", most=MAX_MIRRORS)
        providers = list_of(table.get("providers", []), f"{field}.providers", most=MAX_PROVIDERS)
        return cls(
            parsed(table.get("manifest_cid"), f"{field}.manifest_cid", Cid.parse),
            tuple(parsed(each, f"{field}.mirrors", parse_manifest_url) for each in mirrors),
            tuple(matching(each, f"{field}.providers", _MULTIADDR) for each in providers),
        )

    def table(self) -> dict[str, object]:
        """Return the JSON object of it."""
        return {
            "manifest_cid": str(self.manifest_cid),
            "mirrors": list(self.mirrors),
            "providers": list(self.providers),
        }


@dataclass(frozen=True, slots=True)
class Announcement:
    """The places of a publisher's manifests, by channel and architecture."""

    places: Mapping[tuple[str, Arch], Place]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an announcement: canonical JSON (RFC 8785) of at most ``MAX_PLACES``.

        Places of architectures that are unknown here are left out, so that a publisher can add
        one while older sticks are in use.

        Raises:
            BadField: it is not canonical, or a field is not usable. Any defect is reported as this
                refusal, which bans no source: whoever holds the key signed it.
        """
        places = {}
        for name, value in _document(text).items():
            field = f"{FIELD}.{name}"
            channel, arch = parsed(name, field, _key)
            place = Place.of(value, field)
            if arch is not None:
                places[channel, arch] = place
        return cls(MappingProxyType(places))

    def encode(self) -> str:
        """Return the JSON text of it."""
        return canonical(
            {f"{channel}/{arch}": place.table() for (channel, arch), place in self.places.items()}
        ).decode()


def parse_manifest_url(text: str) -> str:
    """Return ``text`` unchanged if it is the URL of a manifest.

    Raises:
        BadUrl: it is no URL, longer than ``MAX_BASE`` characters, or its path does not end with
            ``/manifest.json``.
    """
    # A stolen announcing key must not send every machine to any URL of any server.
    if Url.parse(text, max_length=MAX_BASE).base(_MANIFEST) is None:
        raise BadUrl(f"it does not end with /{_MANIFEST}; write the URL of the manifest itself")
    return text


def _document(text: str) -> dict[str, object]:
    raw = text.encode()
    try:
        document = read_document(raw, depth=MAX_DEPTH)
    except Refusal as refusal:
        raise BadField(field=FIELD, reason=refusal.code) from None
    if canonical(document) != raw:
        raise BadField(field=FIELD, reason="not in canonical form (RFC 8785)")
    if len(document) > MAX_PLACES:
        raise BadField(field=FIELD, reason=f"more than {MAX_PLACES} places")
    return document


def _key(text: str) -> tuple[str, Arch | None]:
    """Read the key of a place; the architecture is None if it is unknown here."""
    channel, _, arch = text.partition("/")
    if not _ARCH.fullmatch(arch):
        raise ValueError("a place is named by a channel, a slash and an architecture")
    return parse_channel(channel), Arch(arch) if arch in tuple(Arch) else None
