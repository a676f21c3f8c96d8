"""Reads who serves a CID over HTTP in the replies of delegated routers.

A reply is JSON or NDJSON with records of the schema `peer` or `bitswap`
(https://specs.ipfs.tech/routing/http-routing-v1/). It is untrusted: what it names is bounded, and
an address of this machine, of one link or of a network nearer than the router is left out. The
servers are used as gateways, so what they send is verified.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Final

from phase_boot.content.http_address import server_at
from phase_boot.url import BadUrl, Scope, Url

MAX_REPLY: Final = 256 * 1024
"""Bytes of a router's reply."""
MAX_RECORDS: Final = 64
"""Records that are read of a reply; the rest is ignored."""
MAX_ADDRESSES: Final = 32
"""Addresses that are read of a record; the rest is ignored."""
MAX_PROVIDERS: Final = 8
"""HTTP servers that are taken of one reply."""
_SCHEMAS: Final = frozenset({"peer", "bitswap"})


def providers_in(reply: bytes, *, private: bool, own: Collection[str] = ()) -> tuple[str, ...]:
    """Return the base URLs of the HTTP servers that a reply names, at most `MAX_PROVIDERS`.

    Args:
        reply: the body of the response.
        private: whether addresses of private networks are taken.
        own: this machine's own addresses, which are never taken.

    Raises:
        ValueError: it is neither JSON nor NDJSON of objects.
    """
    found: dict[str, None] = {}
    for address in _addresses(reply):
        url = server_at(address, private=private, own=own)
        if url is not None and len(found) < MAX_PROVIDERS:
            found[url] = None
    return tuple(found)


def scope_allows_private(router: str) -> bool:
    """Return whether a router may name private addresses: it has one itself.

    A router of the Internet must not choose among the services of this machine's network.
    """
    try:
        return Url.parse(router).scope in {Scope.PRIVATE, Scope.OWN}
    except BadUrl:
        return False


def _addresses(reply: bytes) -> Iterator[str]:
    for record in records_in(reply):
        match record:
            case {"Schema": str(schema), "Addrs": list(addresses)} if schema in _SCHEMAS:
                for address in addresses[:MAX_ADDRESSES]:
                    if isinstance(address, str):
                        yield address


def records_in(reply: bytes) -> list[object]:
    """Return the first `MAX_RECORDS` records of a reply, which are not checked.

    Raises:
        ValueError: it is neither JSON nor NDJSON of objects.
    """
    return _records(reply)[:MAX_RECORDS]


def _records(reply: bytes) -> list[object]:
    try:
        text = reply.decode()
        try:
            whole = json.loads(text)
        except json.JSONDecodeError:
            lines = [line for line in text.split("\n", MAX_RECORDS)[:MAX_RECORDS] if line.strip()]
            return [json.loads(line) for line in lines]
    except RecursionError as error:
        raise ValueError("the reply is nested too deeply") from error
    match whole:
        case {"Providers": list(records)}:
            return records
        case {"Providers": None}:
            return []
        case {"Schema": _}:
            return [whole]
        case []:
            return []
    raise ValueError("the reply is no list of providers")
