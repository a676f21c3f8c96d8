"""A provider as IPFS nodes know it: an HTTPS address and a peer id (IPFS Delegated Routing V1).

kubo takes blocks over HTTPS and HTTP/2 only (boxo, `bitswap/network/httpnet`), which a reverse
proxy adds. A provider cannot know the address of its proxy: a person names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from phase_boot.url import MAX_BASE, BadUrl, Scope, Url

PROTOCOL: Final = "transport-ipfs-gateway-http"
"""Trustless gateway over HTTP, in the list of protocols of a peer (IPIP-417)."""
_SCHEME: Final = "https"
_LABEL: Final = b"phase-boot serve: HTTP provider without a key\n"
_SHA256: Final = b"\x12\x20"
"""The multihash prefix of sha2-256: its code, and a length of 32 bytes."""
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class HttpProvider:
    """A trustless gateway at an origin, which `parse_public_url` returns."""

    url: Url

    @property
    def multiaddr(self) -> str:
        """The address in the form that kubo accepts: host, port, TLS and HTTP."""
        host = self.url.host
        try:
            kind = f"ip{ip_address(host).version}"
        except ValueError:
            kind = "dns"
        return f"/{kind}/{host}/tcp/{self.url.port}/tls/http"

    @property
    def peer_id(self) -> str:
        """The peer id, which the URL determines; base58btc of a sha2-256 multihash, ``Qm…``.

        It proves nothing: HTTPS authenticates the host, and CIDs verify the blocks. A peer id is
        the hash of a public key, and this one is the hash of a text: no known key has it, so no
        libp2p node can answer as this peer, which kubo would prefer to HTTP.
        """
        return _base58(_SHA256 + hashlib.sha256(_LABEL + self.url.origin.encode()).digest())

    def record(self) -> dict[str, object]:
        """Return its record by the peer schema of Delegated Routing V1."""
        return {
            "Schema": "peer",
            "ID": self.peer_id,
            "Addrs": [self.multiaddr],
            "Protocols": [PROTOCOL],
        }


def parse_public_url(text: str) -> Url:
    """Read the URL of the reverse proxy in front of a provider.

    Raises:
        BadUrl: it is no URL, not HTTPS, has a path or a query, which a multiaddr cannot express,
            or its address is valid on one link only or of no server.
    """
    url = Url.parse(text, max_length=MAX_BASE)
    if url.scheme != _SCHEME:
        raise BadUrl("it is not https, and IPFS nodes take blocks over HTTPS only; write https://")
    if url.path.strip("/") or url.query is not None:
        raise BadUrl("it has a path or a query; IPFS nodes are told a host and a port alone")
    if url.scope in {Scope.LINK, Scope.RESERVED}:
        raise BadUrl(f"{url.host} is no address that others reach; write the name of the host")
    return replace(url, path="")


def _base58(data: bytes) -> str:
    """Return ``data``, whose first byte is not zero, in base58btc."""
    number, digits = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, len(_BASE58))
        digits = _BASE58[digit] + digits
    return digits
