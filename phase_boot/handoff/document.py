"""`/phase/handoff.json`: what the target may know about how it was booted (SPEC "Handover")."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Final, NoReturn, TypeVar

from phase_boot.content.version import Version
from phase_boot.trust.keys import parse_keyid
from phase_boot.trust.refusals import TooDeep
from phase_boot.trust.strict_json import check_depth
from phase_boot.trust.verify import Verified
from phase_boot.url import Url
from policies.model import Mode

SCHEMA: Final = "phase-boot-handoff-v1"
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_JOURNAL: Final = 3 * 1024 * 1024
"""Bytes of the event lines that are handed over; the oldest are left out beyond that."""
MAX_DEPTH: Final = 4
MAX_ADDRESSES: Final = 64
MAX_SOURCES: Final = 32
MAX_SIGNERS: Final = 32

_FIELDS: Final = frozenset(
    (
        *("schema", "mode", "version", "manifest", "signers", "network", "cache", "origin"),
        *("sources", "journal"),
    )
)
_MODE: Final = re.compile(r"[a-z]{1,16}")
_LINK: Final = re.compile(r"[!-~]{1,64}")
_VLAN: Final = re.compile(r"|[1-9][0-9]{0,3}")
_PROXY: Final = re.compile(r"|[!-~]{1,1024}")
_ARTIFACT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOCATION: Final = re.compile(r"[A-Za-z0-9:._/+-]{1,512}")
_SOURCE: Final = re.compile(r"[!-~]{1,1024}")

_T = TypeVar("_T")


class BadHandoff(ValueError):
    """Bytes are no hand-over; ``str`` is one sentence with the way out."""

    def __init__(self, reason: object) -> None:
        super().__init__(
            f"The hand-over document is not usable ({reason}): start this machine from its stick."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How the link was configured that the boot used."""

    interface: str
    addresses: tuple[str, ...]
    """Each with the length of its prefix, as in `10.0.0.2/24`."""
    gateways: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    vlan: str = ""
    """The VLAN's number in decimal digits; empty where there is none."""
    proxy: str = ""
    """The URL of the proxy that HTTP went through; empty where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePartition:
    """The one partition that the target may take for Cache."""

    guid: str
    """Its GUID in the partition table, in lower case; copies of a stick share it."""
    location: str
    """Where its disk is plugged in: the path in /sys/devices without the numbers that follow from
    the order of enumeration (docs/adr/0014-identity.md)."""

    @property
    def is_readable(self) -> bool:
        """Whether a target can read it in the document."""
        try:
            return _cache(asdict(self)) is not None
        except BadHandoff:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestSource:
    """Where the manifest that was booted came from.

    The mirrors and gateways that its publisher signed stand in the manifest itself, and the one
    that each artifact came from in `Handoff.sources`.
    """

    manifest: str
    """The URL of the manifest, http or https."""
    provider: str
    """The root of the mirror layout that it is part of; empty if its URL does not follow that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """What the boot says about itself."""

    mode: str
    version: Version
    manifest: str
    """The manifest's file, as it was signed; `trust.verify` judges it."""
    signers: tuple[str, ...]
    network: Network | None
    cache: CachePartition | None
    """Where the rootfs is; None where it is appended to the initramfs."""
    manifest_source: ManifestSource | None
    """None if the manifest came over no network, as from Cache."""
    sources: Mapping[str, str]
    """Which artifact came from where."""
    journal: tuple[str, ...]
    """The event lines so far, oldest first."""

    def encode(self) -> bytes:
        """Return the document as JSON in UTF-8."""
        return json.dumps(self.fields(), ensure_ascii=True, indent=1).encode() + b"\n"

    def fields(self) -> dict[str, object]:
        """Return the document as JSON takes it."""
        return {
            "schema": SCHEMA,
            "mode": self.mode,
            "version": str(self.version),
            "manifest": self.manifest,
            "signers": list(self.signers),
            "network": asdict(self.network) if self.network else {},
            "cache": asdict(self.cache) if self.cache else {},
            "origin": asdict(self.manifest_source) if self.manifest_source else {},
            "sources": dict(self.sources),
            "journal": list(self.journal),
        }


def document(  # noqa: PLR0913 - the parts of the document, all by keyword
    *,
    mode: str,
    manifest: Verified,
    network: Network | None,
    cache: CachePartition | None = None,
    manifest_source: ManifestSource | None = None,
    sources: Mapping[str, str],
    journal: Sequence[str],
) -> bytes:
    """Return the document as JSON in UTF-8.

    In Private mode the target is told what it is and who signed it, and nothing of the way here:
    its memory is all that such a boot leaves.

    Args:
        mode: the mode that was booted.
        manifest: the manifest that was verified; it goes in as the exact bytes that were signed.
        network: the link that was used, if any.
        cache: the Cache partition that the rootfs is on, if it is on one.
        manifest_source: where the manifest came from, if it came over the network.
        sources: which artifact came from where.
        journal: the event lines so far, oldest first.
    """
    private = mode == Mode.PRIVATE
    handoff = Handoff(
        mode=mode,
        version=manifest.manifest.version,
        manifest=manifest.raw.decode(),
        signers=manifest.signers,
        network=None if private else network,
        cache=None if private else cache,
        manifest_source=None if private else manifest_source,
        sources={} if private else sources,
        journal=() if private else _newest(journal),
    )
    try:
        _network(json.loads(json.dumps(handoff.fields()["network"])))
    except BadHandoff:
        # A target that cannot read it gets nothing at all; without the network it has the rest.
        handoff = replace(handoff, network=None)
    try:
        _manifest_source(_table(handoff.fields()["origin"], "origin"))
    except BadHandoff:
        handoff = replace(handoff, manifest_source=None)
    return handoff.encode()


def read(raw: bytes) -> Handoff:
    """Return what a hand-over document says.

    Raises:
        BadHandoff: more than 4 MiB, another schema, or anything that `document` does not write.
    """
    table = _table(_loaded(raw), "document")
    if table.get("schema") != SCHEMA:
        raise BadHandoff(f"its schema is not {SCHEMA}")
    if table.keys() != _FIELDS:
        raise BadHandoff("a field is missing or unknown")
    sources = _table(table["sources"], "sources")
    if len(sources) > MAX_SOURCES:
        raise BadHandoff(f"more than {MAX_SOURCES} sources")
    signers = _texts(table["signers"], "signers", MAX_SIGNERS)
    return Handoff(
        mode=_matching(table["mode"], "mode", _MODE),
        version=_parsed(table["version"], "version", Version.parse),
        manifest=_text(table["manifest"], "manifest"),
        signers=tuple(_parsed(signer, "signers", parse_keyid) for signer in signers),
        network=_network(_table(table["network"], "network")),
        cache=_cache(_table(table["cache"], "cache")),
        manifest_source=_manifest_source(_table(table["origin"], "origin")),
        sources=MappingProxyType(
            {
                _matching(name, "sources", _ARTIFACT): _matching(source, "sources", _SOURCE)
                for name, source in sources.items()
            }
        ),
        journal=_texts(table["journal"], "journal", MAX_JOURNAL),
    )


def _newest(journal: Sequence[str]) -> tuple[str, ...]:
    """Return the last lines, as many as a reader takes."""
    room, first = MAX_JOURNAL, len(journal)
    while first and (room := room - len(json.dumps(journal[first - 1]))) >= 0:
        first -= 1
    return tuple(journal[first:])


def _loaded(raw: bytes) -> object:
    if len(raw) > MAX_BYTES:
        raise BadHandoff(f"larger than {MAX_BYTES} bytes")
    try:
        check_depth(raw, MAX_DEPTH)
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_no_number,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except TooDeep:
        raise BadHandoff(f"nested more than {MAX_DEPTH} levels deep") from None
    except UnicodeDecodeError:
        raise BadHandoff("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadHandoff(f"no JSON: {error.msg} at character {error.pos}") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise BadHandoff("a name stands twice in one place")
    return table


def _no_number(_: str) -> NoReturn:
    raise BadHandoff("a number, and it has none")


def _network(table: Mapping[str, object]) -> Network | None:
    if not table:
        return None
    if table.keys() != {field.name for field in fields(Network)}:
        raise BadHandoff("network: a field is missing or unknown")
    return Network(
        interface=_matching(table["interface"], "network", _LINK),
        addresses=_links(table["addresses"]),
        gateways=_links(table["gateways"]),
        dns=_links(table["dns"]),
        vlan=_matching(table["vlan"], "network", _VLAN),
        proxy=_matching(table["proxy"], "network", _PROXY),
    )


def _cache(table: Mapping[str, object]) -> CachePartition | None:
    if not table:
        return None
    if table.keys() != {field.name for field in fields(CachePartition)}:
        raise BadHandoff("cache: a field is missing or unknown")
    return CachePartition(
        guid=_matching(table["guid"], "cache", GUID),
        location=_matching(table["location"], "cache", LOCATION),
    )


def _manifest_source(table: Mapping[str, object]) -> ManifestSource | None:
    if not table:
        return None
    if table.keys() != {field.name for field in fields(ManifestSource)}:
        raise BadHandoff("origin: a field is missing or unknown")
    provider = _text(table["provider"], "origin")
    return ManifestSource(
        manifest=_url(table["manifest"]), provider=_url(provider) if provider else provider
    )


def _url(value: object) -> str:
    text = _text(value, "origin")
    _parsed(text, "origin", Url.parse)
    return text


def _links(value: object) -> tuple[str, ...]:
    texts = _texts(value, "network", MAX_ADDRESSES)
    return tuple(_matching(text, "network", _LINK) for text in texts)


def _table(value: object, field: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadHandoff(f"{field}: no object")
    return value


def _texts(value: object, field: str, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise BadHandoff(f"{field}: no list of at most {most}")
    return tuple(_text(each, field) for each in value)


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise BadHandoff(f"{field}: no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadHandoff(f"{field}: half a surrogate pair") from None
    return value


def _matching(value: object, field: str, shape: re.Pattern[str]) -> str:
    text = _text(value, field)
    if not shape.fullmatch(text):
        raise BadHandoff(f"{field}: too long, or with characters that do not belong there")
    return text


def _parsed(value: object, field: str, parse: Callable[[str], _T]) -> _T:
    text = _text(value, field)
    try:
        return parse(text)
    except ValueError as error:
        raise BadHandoff(f"{field}: {error}") from None
