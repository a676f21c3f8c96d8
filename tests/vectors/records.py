"""Vectors of records in the DHT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.vectors.case import (
    MANIFEST,
    PUBLISHER,
    RECORD,
    STRANGER,
    Body,
    Case,
    by_keys,
    message,
    spelled,
    text,
)

PLACE = {"arch": "amd64", "channel": "stable"}


def body(**changes: object) -> dict[str, object]:
    """Return a good record without its signature; None leaves a field out."""
    fields: dict[str, object] = {
        "keyid": PUBLISHER.keyid,
        "channel": "stable",
        "arch": "amd64",
        "manifest_cid": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
        "mirrors": ["https://mirror.example/boot"],
        "providers": [
            "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf"
        ],
        "seq": 7,
        "expires": "2025-11-21T00:00:00Z",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def signed(fields: Body, context: bytes = RECORD) -> bytes:
    """Return a record as the DHT holds it."""
    return spelled({**fields, "signature": text(PUBLISHER.sign(message(fields, context)))})


def case(name: str, raw: bytes, verdict: str = "ok", **more: Any) -> Case:
    """Return a vector of a record."""
    fields = {"trusted": by_keys(PUBLISHER), "wanted": PLACE, **more}
    return Case(name=f"record: {name}", kind="record", documents=[raw], verdict=verdict, **fields)


def cases() -> Iterator[Case]:
    """All vectors of records."""
    good = signed(body())
    forged, misplaced = "record.bad-signature", "record.misplaced"
    yield case("signed and in its place", good)
    yield case("as large as allowed", good, spaces=8192 - len(good))
    yield case("one byte too large", good, "document.too-large", spaces=8193 - len(good))
    yield case("five levels", signed(body(x=[[[[1]]]])), "document.too-deep")
    yield case("unsigned", spelled(body()), "record.unsigned")
    yield case("changed", good.replace(b'"seq": 7', b'"seq": 8'), forged)
    yield case("signed in the context of a manifest", signed(body(), MANIFEST), forged)
    yield case("stored for a stranger", good, forged, trusted=by_keys(STRANGER))
    yield case("names another key", signed(body(keyid=STRANGER.keyid)), misplaced)
    yield case("of another channel", good, misplaced, wanted={**PLACE, "channel": "beta"})
    yield case("of another architecture", good, misplaced, wanted={**PLACE, "arch": "arm64"})
    yield case("the second it expires", good, "record.expired", now="2025-11-21T00:00:00Z")
    yield case("a negative sequence number", signed(body(seq=-1)), "document.bad-field")
    pb = "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    yield case("a CID that is no raw block", signed(body(manifest_cid=pb)), "document.bad-field")
