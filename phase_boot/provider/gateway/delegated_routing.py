"""Delegated router for what a provider serves (IPFS Delegated Routing V1, content routing).

It knows one peer, the provider itself, and names it for the blocks that its gateway has. As the
gateway does, it uses no HTTP library.
"""

from __future__ import annotations

import json
import re
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.provider.gateway.block_index import BlockIndex
from phase_boot.provider.gateway.http_provider import HttpProvider
from phase_boot.provider.gateway.trustless_gateway import (
    BAD,
    NOT_ACCEPTABLE,
    OK,
    GatewayReply,
    parse_accept,
)

PROVIDERS_PREFIX: Final = "routing/v1/providers/"
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
FOUND_SECONDS: Final = 300
ABSENT_SECONDS: Final = 15
"""Time in caches, as boxo's router has it: a version that is published later is found soon."""

_TYPES: Final = {JSON: JSON, "*/*": JSON, "application/*": JSON, NDJSON: NDJSON}
"""The response type for each accepted one; a stream is sent only where it is named."""
_OTHER_CID: Final = re.compile(
    r"Qm[1-9A-HJ-NP-Za-km-z]{44}"
    r"|ba[a-z2-7]{6,254}|BA[A-Z2-7]{6,254}|f01[0-9a-f]{6,253}|F01[0-9A-F]{6,253}"
    r"|k[0-9a-z]{7,255}|K[0-9A-Z]{7,255}|z[1-9A-HJ-NP-Za-km-z]{7,255}|uA[A-Za-z0-9_-]{6,254}"
)
"""CIDs of version 0, or of version 1 in another base, codec or hash: none of them is served."""


class DelegatedRouter:
    """Answers ``/routing/v1/providers/<cid>``. Its method blocks."""

    def __init__(self, blocks: BlockIndex, provider: HttpProvider) -> None:
        """Take the index of the blocks that ``provider`` serves."""
        self._blocks = blocks
        self._record = provider.record()

    def reply(self, name: str, accept: str) -> GatewayReply:
        """Return the providers of the CID ``name``: one, or an empty list with status 200."""
        kind = _negotiate(accept)
        if kind is None:
            return GatewayReply(NOT_ACCEPTABLE, f"The Accept header must allow {JSON} or {NDJSON}.")
        try:
            cid = Cid.parse(name)
        except ValueError as error:
            if not _OTHER_CID.fullmatch(name):
                return GatewayReply(BAD, f"Not a CID: {error}.")
            return _list_reply(kind, [])
        has_block = self._blocks.block(cid) is not None
        return _list_reply(kind, [self._record] if has_block else [])


def _negotiate(accept: str) -> str | None:
    """Return the response type, or None if no type is acceptable."""
    if not accept:
        return JSON
    return next((_TYPES[kind] for kind, _ in parse_accept(accept) if kind in _TYPES), None)


def _list_reply(kind: str, records: list[dict[str, object]]) -> GatewayReply:
    seconds = FOUND_SECONDS if records else ABSENT_SECONDS
    headers = {
        "Cache-Control": f"public, max-age={seconds}",
        "Content-Type": kind,
        "Vary": "Accept",
    }
    documents = records if kind == NDJSON else [{"Providers": records}]
    body = "".join(f"{json.dumps(each)}\n" for each in documents)
    return GatewayReply(OK, headers=headers, body=body.encode())
