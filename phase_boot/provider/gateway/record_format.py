"""Negotiates the format of an IPNS name at a gateway (IPFS trustless-gateway specification)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from phase_boot.provider.gateway.trustless_gateway import parse_accept
from phase_boot.store.layout import RECORD_TYPE

IPNS_PREFIX: Final = "ipns/"
FORMAT: Final = "ipns-record"


def wants_record(query: Mapping[str, str], accept: str) -> bool:
    """Return whether the ``format`` parameter, or else the Accept header, names an IPNS record."""
    form = query.get("format")
    if form is not None:
        return form == FORMAT
    return any(kind == RECORD_TYPE for kind, _ in parse_accept(accept))
