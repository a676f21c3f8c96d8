"""Port of discovery: finders of URLs at which a signed manifest may be.

What a finder yields is untrusted: the manifest at the URL is verified.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import IpnsRecord
from phase_boot.url import BadUrl, Url
from policies.model import Reach

LAN: Final = "lan"
"""Kind of the finder of providers that are announced on this network."""
WAN: Final = "wan"
"""Kind of the finder of what the publisher's IPNS record names."""
CACHE: Final = "cache"
"""Kind of the finder of the manifest that the store has."""
BLOCK: Final = "ipfs://"
"""What the URL of a manifest begins with that peers of libp2p have by its CID."""
SERVICE: Final = "_phase-image._tcp.local."
"""DNS-SD type that providers announce and that the mDNS finder asks for."""
MAX_REASONS: Final = 8
"""`reply.ignored` events of one finder in one search, one for each reason."""


class FinderFailed(Exception):
    """The finder does not work; other finders may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """Where to ask for the publisher's IPNS record, and what makes one acceptable."""

    names: tuple[IpnsName, ...]
    """The names of the announcing keys that the newest root delegates."""
    routers: tuple[str, ...]
    """Base URLs of delegated routers."""
    gateways: tuple[str, ...]
    """Base URLs of trustless gateways, for the record and for the manifest that it names."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs of peers with which a look-up in the DHT begins; none, none is asked."""
    dht_delay: float = 0.0
    """Seconds before the DHT is asked, in which something nearer may be found."""
    now: datetime
    reach: Reach
    redirects: int
    newest: tuple[IpnsRecord, ...] = ()
    """The newest record of each name that this machine has accepted."""
    peers: bool = False
    """Whether peers of libp2p may be asked for the manifest."""
    ask_lan: bool = False
    """Whether providers of this network are asked, before the servers beyond it."""
    own: frozenset[str] = frozenset()
    """This machine's addresses, which no record may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryQuery:
    """The parameters of a search."""

    arch: Arch
    channel: str
    seconds: float
    """Longest duration of the search."""
    urls: tuple[str, ...]
    """Manifest URLs of the policy, or one that a person typed."""
    newest_manifest: bytes | None = None
    """The newest manifest in the store."""
    records: RecordQuery | None = None
    """None where the root names no announcing key, or the policy no server to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A URL at which a manifest may be; all fields but the record are untrusted."""

    url: str
    """URL of the `manifest.json`."""
    finder: str
    """The kind of the finder that yielded it: `lan`, `wan`, `url` or `cache`."""
    document: bytes | None = None
    """The manifest, if the finder has it already."""
    service_name: str = ""
    """Name of the announced service, by which its several addresses count as one source."""
    record: IpnsRecord | None = field(default=None, hash=False)
    """The verified record that names the URL."""
    dht_peers: tuple[str, ...] = field(default=(), hash=False)
    """Multiaddrs of the DHT peers that answered while the record was looked up."""

    def base(self, arch: Arch, channel: str) -> str | None:
        """Return the root of the mirror layout, or None if the URL does not follow it."""
        try:
            base = Url.parse(self.url).base(f"{channel}/{arch}/manifest.json")
        except BadUrl:
            return None
        return None if base is None else str(base)


def block_in(url: str) -> Cid | None:
    """Return the CID that a URL of `BLOCK` names; None for any other URL."""
    if not url.startswith(BLOCK):
        return None
    try:
        return Cid.parse(url.removeprefix(BLOCK))
    except ValueError:
        return None


def server_of(url: str) -> str:
    """Return the origin of ``url`` (RFC 6454), or the text itself if it is no URL."""
    try:
        return Url.parse(url).origin
    except BadUrl:
        return url


def host_of(url: str) -> str:
    """Return the host of ``url``; empty if it is no URL."""
    try:
        return Url.parse(url).host
    except BadUrl:
        return ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A finder ignored an announcement; it is reported once for each reason."""

    reason: str


class Finder(Protocol):
    """Finds candidates in one way."""

    @property
    def kind(self) -> str:
        """The finder's name in the policy's `discovery.order`."""

    def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield candidates, and reasons of ignored announcements, for at most `query.seconds`.

        Raises:
            FinderFailed: the finder does not work at all.
        """
