"""Finding manifests on this LAN by mDNS (SPEC M2.4): the browsing side of zeroconf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from phase_boot.adapters.late import Late
from phase_boot.ports.finder import Candidate, FinderFailed, Quest

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange

SERVICE: Final = "_phase-image._tcp.local."
MAX_URL: Final = 255
"""Characters: one string of a TXT record holds no more."""
MAX_ADDRESSES: Final = 4
RESOLVE_MILLISECONDS: Final = 3000


class Mdns:
    """Implements `ports.finder.Finder` with zeroconf, which is imported when first needed."""

    origin = "lan"

    def __init__(self) -> None:
        self._library = Late("zeroconf.asyncio")

    async def warm(self) -> None:
        """Import zeroconf now."""
        await self._library.ready()

    async def find(self, quest: Quest) -> AsyncGenerator[Candidate, None]:
        """Yield what announces itself as the channel and architecture that are looked for."""
        await self._library.ready()
        from zeroconf import asyncio as library  # noqa: PLC0415 - it is imported by now, see Late

        try:
            zeroconf = library.AsyncZeroconf()
        except (OSError, RuntimeError) as error:
            raise FinderFailed(f"mDNS cannot be used on this network: {error}") from error
        names: asyncio.Queue[str] = asyncio.Queue(maxsize=256)
        try:
            library.AsyncServiceBrowser(
                zeroconf.zeroconf, SERVICE, handlers=[lambda **change: _note(names, **change)]
            )
            async for name in _until(names, quest.seconds):
                info = library.AsyncServiceInfo(SERVICE, name)
                if await info.async_request(zeroconf.zeroconf, RESOLVE_MILLISECONDS):
                    for url in manifest_urls(
                        info.decoded_properties,
                        server=info.server,
                        addresses=info.parsed_scoped_addresses(),
                        quest=quest,
                    ):
                        yield Candidate(url=url, origin=self.origin, who=name)
        finally:
            await zeroconf.async_close()


def _note(
    names: asyncio.Queue[str], *, name: str, state_change: ServiceStateChange, **_: object
) -> None:
    if state_change.name != "Removed" and not names.full():
        names.put_nowait(name)


async def _until(names: asyncio.Queue[str], seconds: float) -> AsyncIterator[str]:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                name = await names.get()
        except TimeoutError:
            return
        yield name


def manifest_urls(
    told: Mapping[str, str | None], *, server: str | None, addresses: Sequence[str], quest: Quest
) -> Iterator[str]:
    """Yield the manifest URLs that an announcement for us names, hostile or not.

    Args:
        told: the TXT record's keys and values. The case of a key does not matter, and of several
            values the first counts (RFC 6763, section 6.4).
        server: the name of the machine that announces.
        addresses: those it announces with.
        quest: what is looked for.
    """
    told = _by_key(told)
    if told.get("channel") != quest.channel or told.get("arch") != quest.arch:
        return
    mirror = told.get("mirror") or ""
    if len(mirror) > MAX_URL or not mirror.isascii() or not mirror.isprintable():
        return
    try:
        parts = urlsplit(mirror)
        host, port = parts.hostname, parts.port
    except ValueError:
        return
    if parts.scheme not in {"http", "https"} or not host:
        return
    if not host.endswith(".local"):
        yield mirror
        return
    # Only the announcer's own name may be answered by the addresses it announced with.
    if server is None or host.lower() != server.rstrip(".").lower():
        return
    suffix = f":{port}" if port else ""
    # One that holds on its own wire only needs the name of our interface in the URL: a last resort.
    far = [a for a in addresses if not ip_address(a.partition("%")[0]).is_link_local]
    for address in (far or addresses)[:MAX_ADDRESSES]:
        literal = f"[{address}]" if ":" in address else address
        yield urlunsplit((parts.scheme, literal + suffix, parts.path, "", ""))


def _by_key(told: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the values by their keys in lower case, the first of each key."""
    values: dict[str, str | None] = {}
    for key, value in told.items():
        values.setdefault(key.lower(), value)
    return values
