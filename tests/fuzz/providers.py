"""Replies of delegated routers: JSON and NDJSON with multiaddrs."""

from __future__ import annotations

import json

from phase_boot.content.own_address import is_one_of
from phase_boot.download.http_providers import MAX_PROVIDERS, providers_in
from phase_boot.url import Scope, Url
from tests.fuzz.target import Target

OWN = frozenset({"203.0.113.7", "2606:4700::7"})
NEVER = {Scope.OWN, Scope.LINK, Scope.RESERVED}


def one(data: bytes) -> None:
    """Read a reply of a router beyond this network, and of one on it."""
    for private in (False, True):
        try:
            found = providers_in(data, private=private, own=OWN)
        except ValueError:
            continue
        assert len(found) <= MAX_PROVIDERS
        for text in found:
            url = Url.parse(text)
            assert text == url.origin
            assert not is_one_of(url.host, OWN)
            assert url.scope not in (NEVER if private else {Scope.PRIVATE, *NEVER})


def _reply(*addresses: str) -> dict[str, object]:
    return {"Schema": "peer", "ID": "12D3", "Addrs": list(addresses), "Protocols": []}


GOOD = _reply("/dns4/one.example/tcp/443/tls/http", "/ip6/2606:4700::7/tcp/80/http")
NEAR = _reply("/ip4/127.0.0.1/tcp/80/http", "/ip4/10.0.0.1/tcp/8080/http", "/ip4/1.1.1.1/tcp/1")

TARGET = Target(
    one=one,
    starts={
        "json": json.dumps({"Providers": [GOOD, NEAR]}).encode(),
        "ndjson": json.dumps(GOOD).encode() + b"\n" + json.dumps(NEAR).encode() + b"\n",
        "none": b'{"Providers":null}',
        "deep": b"[" * 900,
        "page": b"<html><body>Not found</body></html>",
        "bitswap": json.dumps({"Providers": [{**GOOD, "Schema": "bitswap"}]}).encode(),
    },
    max_len=2048,
    words=(b"/ip4/", b"/ip6/", b"/dns/", b"/tcp/", b"/tls/http", b"/https", b'"Addrs":[', b"\n"),
)
