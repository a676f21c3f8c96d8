"""Sources of the artifacts that the publisher's IPNS record names: mirrors, and HTTP servers.

A record is signed by an announcing key, which may be stolen, so what it names is filtered like the
announcement of any other machine. The artifacts are verified wherever they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from phase_boot.content.arch import Arch
from phase_boot.content.http_address import server_at
from phase_boot.content.own_address import is_one_of
from phase_boot.store.layout import manifest_path
from phase_boot.trust.announcement import Place
from phase_boot.trust.ipns_record import IpnsRecord
from phase_boot.url import BadUrl, announced


class RecordSources:
    """The sources that accepted records name for one channel and architecture."""

    def __init__(
        self,
        records: Iterable[IpnsRecord | None],
        channel: str,
        arch: Arch,
        *,
        own: Collection[str] = (),
    ) -> None:
        """Take the records, those first whose sources are preferred; None counts as no record.

        ``own`` are this machine's addresses, which no record may name.
        """
        self._own = own
        named = (record.announcement.places.get((channel, arch)) for record in records if record)
        self._places: list[Place] = [place for place in named if place is not None]
        self._manifest = manifest_path(channel, arch)

    def mirrors(self) -> Iterator[str]:
        """Yield the base URLs of the mirrors; one that is no mirror of a whole SITE is left out."""
        for place in self._places:
            for text in place.mirrors:
                try:
                    base = announced(text).base(self._manifest)
                except BadUrl:
                    continue
                if base is not None and not is_one_of(base.host, self._own):
                    yield str(base)

    def gateways(self, *, private: bool) -> Iterator[str]:
        """Yield the base URLs of the providers that are HTTP servers."""
        for place in self._places:
            for address in place.providers:
                url = server_at(address, private=private, own=self._own)
                if url is not None:
                    yield url

    def providers(self) -> Iterator[str]:
        """Yield the multiaddrs of all providers, which are not parsed."""
        for place in self._places:
            yield from place.providers
