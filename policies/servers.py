"""Lists of servers in a policy: delegated routers, gateways, and URLs of manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from phase_boot.url import BadUrl, Url, base_url

MAX_GATEWAYS: Final = 16
MAX_ROUTERS: Final = 8
_GATEWAY_PATH: Final = "/ipfs"
"""The path of blocks on a gateway; the gateway's base URL ends before it."""
_ROUTER_PATH: Final = "/routing/v1"
"""The path of the Delegated Routing API; the router's base URL ends before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Base URLs of delegated routers and trustless IPFS gateways, and peers of a DHT.

    ``bootstrap`` holds the multiaddrs of the peers where a look-up in the DHT begins.
    """

    routers: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()

    def joined(self, others: Servers) -> Servers:
        """Return these servers and then ``others``, each once."""
        return Servers(
            routers=tuple(dict.fromkeys((*self.routers, *others.routers))),
            gateways=tuple(dict.fromkeys((*self.gateways, *others.gateways))),
            bootstrap=tuple(dict.fromkeys((*self.bootstrap, *others.bootstrap))),
        )


NO_SERVERS: Final = Servers()


def gateways_from(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the base URLs of gateways, without a trailing slash, without duplicates.

    Raises:
        ValueError: one is not a gateway's base URL, or there are more than `MAX_GATEWAYS`.
    """
    gateways = tuple(dict.fromkeys(_gateway(url) for url in texts(values)))
    if len(gateways) > MAX_GATEWAYS:
        raise ValueError(f"{len(gateways)} are too many; name {MAX_GATEWAYS} at most")
    return gateways


def routers_from(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the base URLs of delegated routers, without a trailing slash, without duplicates.

    Raises:
        ValueError: one is not a router's base URL, or there are more than `MAX_ROUTERS`.
    """
    routers = tuple(dict.fromkeys(_router(url) for url in texts(values)))
    if len(routers) > MAX_ROUTERS:
        raise ValueError(f"{len(routers)} are too many; name {MAX_ROUTERS} at most")
    return routers


def urls_from(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the URLs of manifests in their canonical form.

    Raises:
        ValueError: one is not a URL.
    """
    urls = []
    for text in texts(values):
        try:
            urls.append(str(Url.parse(text)))
        except BadUrl as error:
            raise ValueError(f"{text!r:.300} is no URL of a manifest: {error}") from error
    return tuple(urls)


def _gateway(text: str) -> str:
    return _base(text, "gateway", before=_GATEWAY_PATH)


def _router(text: str) -> str:
    return _base(text, "router", before=_ROUTER_PATH)


def _base(text: str, kind: str, *, before: str) -> str:
    """Return the base URL of a server of ``kind``, whose paths start with ``before``."""
    try:
        base = base_url(text)
    except BadUrl as error:
        reason = f"{error}; name what stands before {before}"
        raise ValueError(f"{text!r:.300} is no base URL of a {kind}: {reason}") from error
    if base.endswith(before):
        raise ValueError(
            f"{text!r:.300} is no base URL of a {kind}; name what stands before {before}"
        )
    return base


def texts(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the strings of an array; raise ValueError if it holds anything else."""
    if not all(isinstance(value, str) for value in values):
        raise ValueError("holds something that is not a string")
    return tuple(values)
