"""Sample IPNS records, and records around any data, signed by the announcing key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from phase_boot.content import varint
from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, Codec
from phase_boot.trust import dag_cbor
from phase_boot.trust.announcement import FIELD, Announcement, Place
from phase_boot.trust.dag_cbor import Value
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import CONTEXT, make_record
from phase_boot.trust.keys import SigningKey

ANNOUNCING_KEY: Final = SigningKey(b"\x41" * 32)
OTHER_KEY: Final = SigningKey(b"\x42" * 32)
NAME: Final = IpnsName(ANNOUNCING_KEY.keyid)
NOW: Final = datetime(2025, 11, 20, tzinfo=UTC)
VALIDITY: Final = NOW + timedelta(hours=48)
MANIFEST_CID: Final = Cid.of(Codec.RAW, b"manifest")
VALUE: Final = f"/ipfs/{MANIFEST_CID}"
MIRROR: Final = "https://mirror.example/stable/amd64/manifest.json"
PROVIDER: Final = (
    "/dns4/node.example/tcp/4001/p2p/12D3KooWN23oVDV3Bm7JjRyG2fq5VQBwMxqGEcm7QyWwSRNpXYdv"
)

SIGNATURE_V2: Final = 8
DATA: Final = 9


def place(**changes: Any) -> Place:
    """Return a place with one mirror and one provider."""
    fields: dict[str, Any] = {
        "manifest_cid": MANIFEST_CID,
        "mirrors": (MIRROR,),
        "providers": (PROVIDER,),
    }
    return Place(**fields | changes)


def announcement(**changes: Any) -> Announcement:
    """Return the announcement of one place."""
    return Announcement(MappingProxyType({("stable", Arch.AMD64): place(**changes)}))


def record(key: SigningKey = ANNOUNCING_KEY, **changes: Any) -> bytes:
    """Return a good record, with some arguments of `make_record` changed."""
    fields: dict[str, Any] = {
        "value": VALUE,
        "announcement": announcement(),
        "sequence": 7,
        "validity": VALIDITY,
        "ttl_seconds": 300,
    }
    return make_record(key, **fields | changes)


def data(**changes: Value | None) -> bytes:
    """Return the signed data of a good record with some fields changed; None leaves one out."""
    fields: Mapping[str, Value | None] = {
        "Value": VALUE.encode(),
        "Validity": b"2025-11-22T00:00:00.000000000Z",
        "ValidityType": 0,
        "Sequence": 7,
        "TTL": 300_000_000_000,
        FIELD: announcement().encode(),
        **changes,
    }
    return dag_cbor.encode({name: value for name, value in fields.items() if value is not None})


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """Return a protobuf message of numbers and bytes, in the given order."""
    return b"".join(_field(number, content) for number, content in fields)


def signed_data(signed: bytes, key: SigningKey = ANNOUNCING_KEY) -> bytes:
    """Return a record of version 2 only, around any data."""
    return message((SIGNATURE_V2, key.sign(CONTEXT + signed)), (DATA, signed))


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint.encode(number << 3) + varint.encode(content)
    return varint.encode(number << 3 | 2) + varint.encode(len(content)) + content
