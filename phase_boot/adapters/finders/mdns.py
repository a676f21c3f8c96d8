"""Finds manifests on the LAN by mDNS and DNS-SD (SPEC M2.4; RFC 6762 and RFC 6763).

All announcements are handled concurrently. The packet that completes an announcement makes a
candidate; missing records are queried meanwhile, within the limits of `mdns_cache`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from phase_boot.adapters.finders.mdns_cache import (
    Announcements,
    Instance,
    Sender,
    strings_of,
    usable_address,
)
from phase_boot.adapters.finders.mdns_sockets import Endpoints
from phase_boot.adapters.net.address_watch import (
    MulticastInterface,
    has_route,
    multicast_interfaces,
)
from phase_boot.adapters.system.lazy_import import LazyImport
from phase_boot.ports.finder import (
    MAX_REASONS,
    SERVICE,
    Candidate,
    DiscoveryQuery,
    FinderFailed,
    Ignored,
    host_of,
)
from phase_boot.url import BadUrl, Scope, announced, scope_of

if TYPE_CHECKING:
    from types import ModuleType

MAX_URL: Final = 255
"""Characters: the largest string of a TXT record."""
MAX_ADDRESSES: Final = 4
MAX_OF_ONE_SENDER: Final = 16
"""Candidates of one sender."""
MAX_CANDIDATES: Final = 1000
"""Candidates of one search, at most; fewer than `privsep.client` accepts."""
MAX_NAME: Final = 200
"""Characters of an instance name that are reported."""
LAST_RESORT_SECONDS: Final = 0.5
"""Delay of candidates with a link-local address, or with one that has no route."""
TICK_SECONDS: Final = 0.1
"""Interval of queries for missing records."""
LOOPBACK: Final = "lo"


class MdnsFinder:
    """Implements `ports.finder.Finder`; zeroconf is imported for the first search."""

    kind = "lan"

    def __init__(
        self, find_interfaces: Callable[[], frozenset[MulticastInterface]] = multicast_interfaces
    ) -> None:
        """Search on the interfaces and families that ``find_interfaces`` returns at each change."""
        self._library = LazyImport("phase_boot.adapters.finders.mdns_message")
        self._find_interfaces = find_interfaces

    async def warm(self) -> None:
        """Import zeroconf now."""
        await self._library.ready()

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield announced candidates of the requested channel and architecture."""
        await self._library.ready()
        from phase_boot.adapters.finders import mdns_message  # noqa: PLC0415 - it is imported by now

        browser = Browser(query, mdns_message)
        endpoints = Endpoints(browser.receive, self._find_interfaces)
        running = [
            asyncio.create_task(endpoints.follow(), name="sockets of mDNS"),
            asyncio.create_task(browser.ask(endpoints), name="queries of mDNS"),
        ]
        try:
            async for candidate in _until(browser.found, running, query.seconds):
                yield candidate
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            endpoints.close()
        if endpoints.failure is not None:
            raise FinderFailed(f"mDNS cannot be used on this network: {endpoints.failure}")


class Browser:
    """Turns packets into candidates. Only `ask` performs I/O."""

    def __init__(
        self,
        query: DiscoveryQuery,
        message: ModuleType,
        *,
        routed: Callable[[str], bool] = has_route,
    ) -> None:
        """Search for ``query``; ``message`` is the module `mdns_message`.

        ``routed`` returns whether the kernel has a route to an address.
        """
        self._query = query
        self._has_route = routed
        self._message = message
        self._loopback = _index_of(LOOPBACK)
        self._urls: set[str] = set()
        self._count: Counter[Sender] = Counter()
        self.announcements = Announcements()
        self._reported: set[str] = set()
        self.found = asyncio.Queue[Candidate | Ignored](MAX_CANDIDATES)

    def receive(self, sender: Sender, packet: bytes) -> None:
        """Process one packet; an error affects this packet alone."""
        now = asyncio.get_running_loop().time()
        if not self.announcements.admits(sender, now):
            return
        try:
            records = list(self._message.records(packet))
            if records:
                for instance in self.announcements.add(sender, records, now):
                    self._offer(sender, instance)
        except Exception as error:  # noqa: BLE001 - of a parser that strangers feed
            self.announcements.ignored[f"packets that raised {type(error).__name__}"] += 1

    async def ask(self, endpoints: Endpoints) -> None:
        """Query the service and missing records until cancelled."""
        message, now = self._message, asyncio.get_running_loop().time
        service = tuple(message.queries([(SERVICE, message.TYPE_PTR)]))
        while True:
            endpoints.ask(service, now())
            places: dict[tuple[int, int], list[tuple[str, int]]] = {}
            for question in self.announcements.questions(now()):
                kinds = (
                    (message.TYPE_A, message.TYPE_AAAA)
                    if question.is_host
                    else (message.TYPE_SRV, message.TYPE_TXT)
                )
                key = (question.sender.index, question.sender.family)
                asked = places.setdefault(key, [])
                asked += [(question.name, kind) for kind in kinds]
            for (index, family), wanted in places.items():
                endpoints.send(index, family, message.queries(wanted))
            self.report_ignored()
            await asyncio.sleep(TICK_SECONDS)

    def report_ignored(self) -> None:
        """Report each reason of ignored packets or records once."""
        for reason in self.announcements.ignored.keys() - self._reported:
            if len(self._reported) < MAX_REASONS:
                self._reported.add(reason)
                self._put(Ignored(reason))

    def _offer(self, sender: Sender, instance: Instance) -> None:
        """Make candidates from the known records of an instance."""
        if instance.host is None or instance.strings is None:
            return
        text = strings_of(instance.strings)
        addresses = [
            usable
            for each in self.announcements.addresses(sender, instance)
            if (usable := self._usable(sender, each)) is not None
        ]
        if not is_wanted(text, self._query):
            instance.answered = True
            return
        for url in manifest_urls(
            text, server=instance.host, addresses=addresses, query=self._query
        ):
            instance.answered = True
            self._take(sender, url, instance.name, last_resort=not self._near(url))

    def _near(self, url: str) -> bool:
        """Return whether a URL needs no delay: a name, or a routed address beyond link-local."""
        host = host_of(url)
        try:
            address = ip_address(host)
        except ValueError:
            return True
        return not address.is_link_local and self._has_route(host)

    def _take(self, sender: Sender, url: str, name: str, *, last_resort: bool) -> None:
        if url in self._urls or len(self._urls) >= MAX_CANDIDATES:
            return
        if self._count[sender] >= MAX_OF_ONE_SENDER:
            self.announcements.ignored["candidates beyond the room for one sender"] += 1
            return
        self._count[sender] += 1
        self._urls.add(url)
        candidate = Candidate(url=url, finder=MdnsFinder.kind, service_name=name[:MAX_NAME])
        if last_resort:
            asyncio.get_running_loop().call_later(LAST_RESORT_SECONDS, self._put, candidate)
        else:
            self._put(candidate)

    def _put(self, found: Candidate | Ignored) -> None:
        with suppress(asyncio.QueueFull):
            self.found.put_nowait(found)

    def _usable(self, sender: Sender, address: str) -> str | None:
        on_loopback = sender.index == self._loopback
        return usable_address(address, index=sender.index, on_loopback=on_loopback)


def _index_of(interface: str) -> int | None:
    return next(
        (place.index for place in multicast_interfaces() if place.interface == interface), None
    )


async def _until(
    found: asyncio.Queue[Candidate | Ignored],
    running: Sequence[asyncio.Task[None]],
    seconds: float,
) -> AsyncGenerator[Candidate | Ignored, None]:
    """Yield results until the deadline; raise the error of a task that ended early."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        getting = asyncio.create_task(found.get())
        left = deadline - asyncio.get_running_loop().time()
        try:
            await asyncio.wait(
                {getting, *running}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
            )
            if not getting.done():
                for task in running:
                    if task.done():
                        raise FinderFailed(f"mDNS has a fault: {task.exception()!r}")
                return
        finally:
            getting.cancel()
        yield getting.result()


def is_wanted(text: Mapping[str, str | None], query: DiscoveryQuery) -> bool:
    """Return whether an announcement has the requested channel and architecture."""
    properties = _by_key(text)
    return properties.get("channel") == query.channel and properties.get("arch") == query.arch


def manifest_urls(
    properties: Mapping[str, str | None],
    *,
    server: str | None,
    addresses: Sequence[str],
    query: DiscoveryQuery,
) -> Iterator[str]:
    """Yield the manifest URLs of an announcement, which may be hostile.

    Args:
        properties: keys and values of the TXT record. The case of a key does not matter; of several
            values the first counts (RFC 6763, section 6.4).
        server: the host name of the announcer.
        addresses: the announced addresses of that host.
        query: the requested channel and architecture.
    """
    if not is_wanted(properties, query):
        return
    properties = _by_key(properties)
    try:
        url = announced(properties.get("mirror") or "", max_length=MAX_URL)
    except BadUrl:
        return
    if not url.host.endswith(".local"):
        yield str(url)
        return
    # Announced addresses may replace only the host name of the announcer itself.
    if server is None or url.host != server.rstrip(".").lower():
        return
    reached = [a for a in addresses if scope_of(a) not in {Scope.OWN, Scope.RESERVED}]
    # A link-local address needs our interface in the URL, so it is the last resort.
    far = [a for a in reached if scope_of(a) is not Scope.LINK]
    for address in (far or reached)[:MAX_ADDRESSES]:
        yield str(replace(url, host=address, query=None))


def _by_key(properties: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the first value of each key, with keys in lower case."""
    values: dict[str, str | None] = {}
    for key, value in properties.items():
        values.setdefault(key.lower(), value)
    return values
