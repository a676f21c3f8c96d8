"""The places that a record names: one for each current manifest of a SITE that machines accept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.version import Version
from phase_boot.publish.errors import PublishError
from phase_boot.store.layout import MANIFEST, manifest_path, read_manifest_path
from phase_boot.trust.announcement import MAX_MIRRORS, Place, parse_manifest_url
from phase_boot.trust.chain import Chain
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES
from phase_boot.trust.verify import BootRequirements, verify
from phase_boot.url import BadUrl, announced, below

_ANY_VERSION: Final = Version.parse("0")


@dataclass(frozen=True, slots=True)
class Places:
    """The places of a SITE by channel and architecture, in that order.

    Attributes:
        found: one for each manifest that machines accept now.
        refused: by its path below the SITE, why each other manifest is refused.
    """

    found: Mapping[tuple[str, Arch], Place]
    refused: Mapping[str, str] = field(default_factory=dict)


def find_places(
    site: Path,
    chain: Chain,
    now: datetime,
    *,
    mirrors: Sequence[str] = (),
    providers: Sequence[str] = (),
) -> Places:
    """Return the places of a SITE.

    Args:
        site: the SITE.
        chain: its roots.
        now: the time by which dates are judged.
        mirrors: base URLs of its mirrors; without any, those that each manifest names.
        providers: multiaddrs of IPFS nodes that hold it.

    Raises:
        PublishError: a manifest cannot be read.
    """
    found: dict[tuple[str, Arch], Place] = {}
    refused: dict[str, str] = {}
    for channel, arch in sorted(_releases(site)):
        path = manifest_path(channel, arch)
        raw = _read(site / path)
        try:
            named = _mirrors(raw, channel, arch, chain, now)
        except Refusal as refusal:
            refused[path] = str(refusal)
            continue
        urls = _urls(mirrors, path) if mirrors else _usable(_urls(named, path))
        cid = Cid.of(Codec.RAW, raw)
        found[channel, arch] = Place(cid, urls, tuple(dict.fromkeys(providers)))
    return Places(found, refused)


def _urls(bases: Sequence[str], path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(below(base, path) for base in bases))


def _usable(urls: Sequence[str]) -> tuple[str, ...]:
    """Return the first URLs that machines take from a record.

    A manifest may name more mirrors, longer URLs, and mirrors at addresses of one machine.
    """
    return tuple(filter(_is_taken, urls))[:MAX_MIRRORS]


def _is_taken(url: str) -> bool:
    try:
        announced(parse_manifest_url(url))
    except BadUrl:
        return False
    return True


def _releases(site: Path) -> Iterator[tuple[str, Arch]]:
    """Yield the channel and architecture of each manifest."""
    for path in site.glob(f"*/*/{MANIFEST}"):
        release = read_manifest_path(path.relative_to(site).as_posix())
        if release is not None:
            yield release


def _mirrors(raw: bytes, channel: str, arch: Arch, chain: Chain, now: datetime) -> tuple[str, ...]:
    """Return the mirrors that a manifest names.

    Raises:
        Refusal: machines that follow the newest root refuse it.
    """
    requirements = BootRequirements(arch=arch, channel=channel, min_version=_ANY_VERSION)
    trust = chain.trust(channel, now)
    return tuple(verify(raw, trust=trust, requirements=requirements, now=now).manifest.mirrors)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}.") from error
