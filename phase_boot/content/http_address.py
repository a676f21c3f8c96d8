"""HTTP servers that are named by multiaddrs, as routers and records name them.

The names are untrusted. An address of this machine, of one link or of no server is refused, so that
nobody chooses among the services that only this machine reaches (docs/adr/0019-gateways.md).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.own_address import is_one_of
from phase_boot.url import BadUrl, Scope, announced, base_url

_SCHEMES: Final = {("http",): "http", ("https",): "https", ("tls", "http"): "https"}
"""The protocols after host and port, with the scheme of the URL."""
_HOSTS: Final = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})


def server_at(address: str, *, private: bool, own: Collection[str] = ()) -> str | None:
    """Return the base URL of the HTTP server at a multiaddr; None if it names none to be asked.

    Args:
        address: the multiaddr, as ``/dns4/host/tcp/443/tls/http``.
        private: whether addresses of private networks are accepted.
        own: this machine's own addresses, which are never accepted.
    """
    try:
        (kind, host), (tcp, port), *rest = Multiaddr.parse(address).parts
        scheme = _SCHEMES[tuple(name for name, _ in rest if name != "p2p")]
        if kind not in _HOSTS or tcp != "tcp":
            return None
        literal = f"[{host}]" if kind == "ip6" else host
        url = announced(base_url(f"{scheme}://{literal}:{port}"))
    except (BadUrl, ValueError, KeyError):
        return None
    allowed = {Scope.NAME, Scope.PUBLIC} | ({Scope.PRIVATE} if private else set())
    return url.origin if url.scope in allowed and not is_one_of(url.host, own) else None
