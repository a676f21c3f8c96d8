"""Announcing offered versions by mDNS/DNS-SD (SPEC M2.4).

Each interface has a responder of its own that announces the addresses of that interface only, so
no client receives an address of another network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from zeroconf import (  # type: ignore[attr-defined] # AddressResolver is missing in its __all__
    AddressResolver,
    BadTypeInNameException,
    Error,
    NonUniqueNameException,
    ServiceInfo,
)
from zeroconf.asyncio import AsyncZeroconf

from phase_boot.ports.finder import SERVICE
from phase_boot.provider.backends.backend import OfferedVersion
from phase_boot.provider.events import Announced, AnnounceFailed, Emit, Withdrawn
from phase_boot.provider.interfaces import NetworkInterface, local_addresses, unique_label
from phase_boot.store.layout import manifest_path
from phase_boot.url import BadUrl, announced

POLL_SECONDS: Final = 1.0
WITHDRAW_SECONDS: Final = 3.0
UPDATE_SECONDS: Final = 20.0
"""Timeout of one update of an interface; it is retried, and other interfaces go on."""
PROBE_SECONDS: Final = 4.0
"""Timeout of probing for a unique instance name (RFC 6762, section 8.1)."""
NAME_PROBE_MS: Final = 400
"""Time to wait for another host that owns our host name."""
_MAX_LABEL: Final = 58
"""Bytes of an instance name, with room for a number that makes it unique."""

_FAILURES: Final = (OSError, RuntimeError, Error, BadUrl)


class Announcer:
    """Keeps the announcements in step with the offered versions and the interfaces."""

    def __init__(self, *, host: str, port: int, emit: Emit) -> None:
        """Take this machine's label below ``.local`` and the port of its HTTP server."""
        self._host = host
        self._port = port
        self._emit = emit
        self._responders: dict[str, _Responder] = {}
        self._failed: dict[str, str] = {}
        # Failures of zeroconf are emitted as events.
        logging.getLogger("zeroconf").addHandler(logging.NullHandler())

    async def run(
        self,
        find_interfaces: Callable[[], Mapping[str, NetworkInterface]],
        find_offers: Callable[[], frozenset[OfferedVersion]],
    ) -> None:
        """Poll both until cancelled, then withdraw all announcements."""
        try:
            while True:
                interfaces = await asyncio.to_thread(find_interfaces)
                offers = await asyncio.to_thread(find_offers)
                await self._reconcile(interfaces, offers)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self._close(self._responders)

    async def _reconcile(
        self, interfaces: Mapping[str, NetworkInterface], offers: frozenset[OfferedVersion]
    ) -> None:
        stale = [
            name for name, one in self._responders.items() if interfaces.get(name) != one.interface
        ]
        await self._close(stale)
        await asyncio.gather(
            *(self._update(interface, offers) for interface in interfaces.values())
        )

    async def _update(self, interface: NetworkInterface, offers: frozenset[OfferedVersion]) -> None:
        try:
            if interface.name not in self._responders:
                self._responders[interface.name] = await _Responder.open(
                    interface, self._host, self._port, self._emit
                )
            async with asyncio.timeout(UPDATE_SECONDS):
                await self._responders[interface.name].update(offers)
        except (TimeoutError, *_FAILURES) as error:
            reason = str(error) or type(error).__name__
            if self._failed.get(interface.name) != reason:
                self._emit(AnnounceFailed(interface=interface.name, reason=reason))
            self._failed[interface.name] = reason
            await self._close([interface.name])
        else:
            self._failed.pop(interface.name, None)

    async def _close(self, names: Iterable[str]) -> None:
        closing = [self._responders.pop(name) for name in list(names) if name in self._responders]
        with contextlib.suppress(TimeoutError, *_FAILURES):
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await asyncio.gather(*(responder.close() for responder in closing))


class _Responder:
    """The announcements on one interface."""

    def __init__(
        self,
        zeroconf: AsyncZeroconf,
        interface: NetworkInterface,
        mirror: tuple[str, int],
        emit: Emit,
    ) -> None:
        self.interface = interface
        self._zeroconf = zeroconf
        self._host, self._port = mirror
        self._emit = emit
        self._announced: dict[tuple[str, str], tuple[OfferedVersion, ServiceInfo]] = {}

    @classmethod
    async def open(
        cls, interface: NetworkInterface, host: str, port: int, emit: Emit
    ) -> _Responder:
        """Open the sockets of mDNS on one interface and no other."""
        own_addresses = await asyncio.to_thread(local_addresses)
        places: list[str | int] = [a for a in interface.addresses if ":" not in a]
        if any(":" in address for address in interface.addresses):
            places.append(interface.index)
        zeroconf = AsyncZeroconf(interfaces=places)
        try:
            await zeroconf.zeroconf.async_wait_for_start()
            _bind_interface(zeroconf, interface)
            name = await _find_free_name(zeroconf, host, own_addresses)
        except BaseException:
            await zeroconf.async_close()
            raise
        return cls(zeroconf, interface, (name, port), emit)

    async def update(self, offers: frozenset[OfferedVersion]) -> None:
        """Announce exactly these versions; returns when all broadcasts were sent."""
        wanted = {(offer.channel, str(offer.arch)): offer for offer in offers}
        for key in self._announced.keys() - wanted.keys():
            _, info = self._announced.pop(key)
            await _await_broadcast(self._zeroconf.async_unregister_service(info))
            self._emit(Withdrawn(interface=self.interface.name, channel=key[0], arch=key[1]))
        changed = [
            offer
            for key, offer in wanted.items()
            if key not in self._announced or self._announced[key][0] != offer
        ]
        await asyncio.gather(*map(self._announce, changed))

    async def close(self) -> None:
        """Withdraw all announcements and close the sockets."""
        await self._zeroconf.async_close()
        for channel, arch in self._announced:
            self._emit(Withdrawn(interface=self.interface.name, channel=channel, arch=arch))
        self._announced.clear()

    async def _announce(self, offer: OfferedVersion) -> None:
        key = (offer.channel, str(offer.arch))
        place = manifest_path(offer.channel, offer.arch)
        mirror = str(announced(f"http://{self._host}.local:{self._port}").below(place))
        if key in self._announced:
            info = self._info(offer, mirror, self._announced[key][1].name)
            await _await_broadcast(self._zeroconf.async_update_service(info))
        else:
            info = await self._register(offer, mirror)
        self._announced[key] = (offer, info)
        self._emit(
            Announced(
                interface=self.interface.name,
                channel=offer.channel,
                arch=str(offer.arch),
                manifest_cid=offer.cid,
                mirror=mirror,
            )
        )

    async def _register(self, offer: OfferedVersion, mirror: str) -> ServiceInfo:
        """Announce under a unique name; under a random one if probing fails.

        Otherwise a host that claims every probed name could silence this provider.
        """
        info = self._info(offer, mirror, self._instance(offer))
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                broadcast = await self._zeroconf.async_register_service(
                    info, allow_name_change=True
                )
        except (TimeoutError, BadTypeInNameException, NonUniqueNameException):
            own = f" {secrets.token_hex(4)}"
            info = self._info(offer, mirror, self._instance(offer, suffix=own))
            broadcast = await self._zeroconf.async_register_service(
                info, cooperating_responders=True
            )
        await broadcast
        return info

    def _instance(self, offer: OfferedVersion, *, suffix: str = "") -> str:
        interface = self.interface.name.replace(".", "-")
        label = f"{offer.channel} {offer.arch} {self._host} {interface}"
        return f"{label[: _MAX_LABEL - len(suffix)].strip()}{suffix}.{SERVICE}"

    def _info(self, offer: OfferedVersion, mirror: str, name: str) -> ServiceInfo:
        return ServiceInfo(
            SERVICE,
            name,
            port=self._port,
            properties={
                "arch": str(offer.arch),
                "channel": offer.channel,
                "manifest_cid": offer.cid,
                "mirror": mirror,
            },
            server=f"{self._host}.local.",
            parsed_addresses=list(self.interface.addresses),
        )


def _bind_interface(zeroconf: AsyncZeroconf, interface: NetworkInterface) -> None:
    """Bind the sockets to one interface.

    Otherwise they receive queries from every network, and answer with addresses of another one.
    """
    for transport in (*zeroconf.zeroconf.engine.readers, *zeroconf.zeroconf.engine.senders):
        with contextlib.suppress(OSError):
            transport.sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode()
            )


async def _find_free_name(zeroconf: AsyncZeroconf, host: str, own_addresses: frozenset[str]) -> str:
    """Return ``host``, or a unique variant if another machine already answers to it."""
    resolver = AddressResolver(f"{host}.local.")
    if not await resolver.async_request(zeroconf.zeroconf, NAME_PROBE_MS):
        return host
    # An answer with our own addresses comes from an avahi on this machine.
    return host if own_addresses.intersection(resolver.parsed_addresses()) else unique_label(host)


async def _await_broadcast(registration: Awaitable[Awaitable[object]]) -> None:
    """Wait for a registration and then for its broadcast."""
    await (await registration)
