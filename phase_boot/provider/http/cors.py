"""Cross-origin requests (CORS, Fetch Standard) of web pages that verify what they get.

Only the paths of IPFS are open to pages of other origins, as the gateway and routing specifications
of IPFS ask: public, verifiable data, sent without credentials. The others are not: a web page must
not make its reader's browser look for providers of that network, or post receipts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from phase_boot.provider.gateway.record_format import IPNS_PREFIX
from phase_boot.provider.gateway.trustless_gateway import PREFIX
from phase_boot.provider.http.responses import COMMON_HEADERS

ROUTING_PREFIX: Final = "routing/v1/"
_OPEN: Final = (PREFIX, IPNS_PREFIX, ROUTING_PREFIX)
PREFLIGHT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Access-Control-Allow-Headers": "Accept, Content-Type, If-None-Match, Range",
        "Access-Control-Max-Age": "86400",
    }
)
"""Headers of the answer to OPTIONS, which a browser keeps for a day at most."""
_ANY_ORIGIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        **COMMON_HEADERS,
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
        "Access-Control-Expose-Headers": "Content-Length, Content-Range, ETag, X-Ipfs-Path, "
        "X-Ipfs-Roots",
    }
)


def is_open(path: str) -> bool:
    """Return whether web pages of any origin may read ``path``, which has no leading slash."""
    return path.startswith(_OPEN)


def headers_for(path: str) -> Mapping[str, str]:
    """Return the headers of every response to a request for ``path``."""
    return _ANY_ORIGIN if is_open(path) else COMMON_HEADERS
