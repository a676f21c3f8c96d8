"""Vectors of IPNS records; DAG-CBOR and protobuf are written here by hand."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from phase_boot.trust.keys import SigningKey
from tests.vectors.case import NOW, UNTRUSTED_KEY, Case, canonical, text

ANNOUNCING_KEY: Final = SigningKey(b"\x41" * 32)
LIMIT: Final = 10 * 1024
DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
MIRROR: Final = "https://mirror.example/stable/amd64/manifest.json"

Field = tuple[int, bytes | int]


def cid_of(block: bytes) -> str:
    """Return the CID of a raw block."""
    binary = b"\x01\x55\x12\x20" + hashlib.sha256(block).digest()
    return "b" + base64.b32encode(binary).decode().rstrip("=").lower()


def name_of(key: SigningKey) -> str:
    """Return the IPNS name of a key."""
    public = bytes.fromhex(key.keyid.removeprefix("ed25519:"))
    number = int.from_bytes(b"\x01\x72\x00\x24\x08\x01\x12\x20" + public, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return "k" + digits


CID: Final = cid_of(b"manifest")
NAME: Final = name_of(ANNOUNCING_KEY)
PLACES: Final = {"stable/amd64": CID}


def head(kind: int, number: int) -> bytes:
    """Return the first bytes of an item of CBOR."""
    if number < 24:
        return bytes([kind * 32 + number])
    for code, size in ((24, 1), (25, 2), (26, 4)):
        if number < 256**size:
            return bytes([kind * 32 + code]) + number.to_bytes(size, "big")
    return bytes([kind * 32 + 27]) + number.to_bytes(8, "big")


def item(value: bytes | str | int) -> bytes:
    """Return bytes, a text or a whole number in CBOR."""
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    return head(3, len(value.encode())) + value.encode()


def place(**changes: object) -> dict[str, object]:
    """Return a good place; None leaves a field out."""
    fields: dict[str, object] = {"manifest_cid": CID, "mirrors": [MIRROR], "providers": []}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def announced(**changes: object) -> str:
    """Return an announcement of one place with some of its fields changed."""
    return canonical({"stable/amd64": place(**changes)}).decode()


def fields(**changes: Any) -> dict[str, Any]:
    """Return good signed fields in their order, with some changed."""
    good: dict[str, Any] = {
        "TTL": 300 * 10**9,
        "Value": b"/ipfs/" + CID.encode(),
        "Sequence": 7,
        "Validity": b"2025-11-22T00:00:00.000000000Z",
        "_phase_boot": announced(),
        "ValidityType": 0,
    }
    return good | changes


def data(table: Mapping[str, Any]) -> bytes:
    """Return a map in CBOR, its keys in the order of ``table``."""
    parts = (item(name) + item(value) for name, value in table.items())
    return head(5, len(table)) + b"".join(parts)


def varint(number: int) -> bytes:
    """Return a varint of protobuf."""
    encoded = b""
    while number > 127:
        encoded += bytes([number % 128 + 128])
        number //= 128
    return encoded + bytes([number])


def message(*parts: Field) -> bytes:
    """Return a protobuf message."""
    encoded = b""
    for number, content in parts:
        if isinstance(content, int):
            encoded += varint(number * 8) + varint(content)
        else:
            encoded += varint(number * 8 + 2) + varint(len(content)) + content
    return encoded


def signed(content: bytes, key: SigningKey = ANNOUNCING_KEY) -> bytes:
    """Return a record of version 2 around some data."""
    return message((8, key.sign(b"ipns-signature:" + content)), (9, content))


def whole(table: Mapping[str, Any]) -> bytes:
    """Return a record with the fields of version 1 too."""
    value, until, sequence, ttl = (table[n] for n in ("Value", "Validity", "Sequence", "TTL"))
    first = ANNOUNCING_KEY.sign(value + until + b"EOL")
    old = message((1, value), (2, first), (3, 0), (4, until), (5, sequence), (6, ttl))
    return old + signed(data(table))


GOOD: Final = whole(fields())


def case(name: str, raw: bytes, verdict: str = "ok", **more: Any) -> Case:
    """Return a vector of a record."""
    wanted: dict[str, object] = {"name": NAME}
    if verdict == "ok":
        wanted |= {"sequence": 7, "places": PLACES}
    return Case(
        name=f"record: {name}",
        kind="record",
        documents=[raw],
        trusted={},
        wanted=wanted | more.pop("wanted", {}),
        verdict=verdict,
        now=more.pop("now", NOW),
        spaces=more.pop("spaces", 0),
    )


def changed(name: str, verdict: str = "document.bad-field", **changes: Any) -> Case:
    """Return a vector of a record with some of its signed fields changed."""
    return case(name, signed(data(fields(**changes))), verdict)


def cases() -> Iterator[Case]:
    """All vectors of records."""
    yield from _accepted()
    yield from _messages()
    yield from _signatures()
    yield from _spellings()
    yield from _fields()
    yield from _announcements()
    yield from _times()


def _accepted() -> Iterator[Case]:
    yield case("both versions", GOOD)
    yield case("version 2 only", signed(data(fields())))
    content = data(fields())
    signature = ANNOUNCING_KEY.sign(b"ipns-signature:" + content)
    yield case("data before the signature", message((9, content), (8, signature)))
    yield case("unknown fields of the message", message((7, b"x"), (500, 1)) + GOOD)
    lies = message((1, b"/ipfs/x"), (3, 1), (4, b"2099-01-01T00:00:00Z"), (5, 9), (6, 1))
    yield case("version 1 contradicts", lies + signed(content))
    yield changed("unknown signed fields", "ok", **{"further field": "x"})
    yield changed("no fractional seconds", "ok", Validity=b"2025-11-22T00:00:00Z")
    highest = {"sequence": 2**63 - 1}
    raw = signed(data(fields(Sequence=2**63 - 1)))
    yield case("highest sequence", raw, wanted=highest)
    padding = message((500, b"x" * (LIMIT - len(GOOD) - 4)))
    yield case("as large as allowed", GOOD + padding)
    yield case("no place", signed(data(fields(_phase_boot="{}"))), wanted={"places": {}})
    later = canonical({"stable/amd64": place(), "stable/riscv64": place()}).decode()
    yield changed("unknown architecture", "ok", _phase_boot=later)
    yield changed("unknown field of a place", "ok", _phase_boot=announced(later=[{"a": 1}]))
    yield changed("neither mirrors nor providers", "ok", _phase_boot=announced(mirrors=None))


def _messages() -> Iterator[Case]:
    malformed = "record.malformed"
    excess = LIMIT + 1 - len(GOOD)
    yield case("one byte too large", GOOD, "document.too-large", spaces=excess)
    yield case("empty", b"", malformed)
    yield case("a page", b"<!doctype html>", malformed)
    yield case("cut", GOOD[:-1], malformed)
    yield case("no signature", message((9, data(fields()))), malformed)
    yield case("no data", message((8, bytes(64))), malformed)
    yield case("signature twice", GOOD + message((8, bytes(64))), malformed)
    yield case("data twice", message((9, b"")) + GOOD, malformed)
    yield case("data as a number", GOOD + message((9, 1)), malformed)
    yield case("field of 64 bits", GOOD + b"\x09" + bytes(8), malformed)
    yield case("group", GOOD + b"\x0b\x0c", malformed)
    yield case("length in another spelling", GOOD + b"\x0a\x81\x00x", malformed)
    yield case("endless field", GOOD + b"\x0a" + b"\xff" * 8 + b"\x7f", malformed)


def _signatures() -> Iterator[Case]:
    bad, content = "record.bad-signature", data(fields())
    yield case("by another key", signed(content, UNTRUSTED_KEY), bad)
    yield case("sequence changed", GOOD.replace(b"hSequence\x07", b"hSequence\x08"), bad)
    yield case("without the prefix", message((8, ANNOUNCING_KEY.sign(content)), (9, content)), bad)
    first = ANNOUNCING_KEY.sign(fields()["Value"] + fields()["Validity"] + b"EOL")
    yield case("of version 1", message((8, first), (9, content)), bad)
    longer = ANNOUNCING_KEY.sign(b"ipns-signature:" + content) + b"\0"
    yield case("of 65 bytes", message((8, longer), (9, content)), bad)


def _spellings() -> Iterator[Case]:
    good, verdict = data(fields()), "record.not-canonical"
    sequence = b"hSequence\x07"
    for name, content in {
        "no data at all": b"",
        "number in a byte": good.replace(sequence, b"hSequence\x18\x07"),
        "number in eight bytes": good.replace(sequence, b"hSequence\x1b" + bytes(7) + b"\x07"),
        "length in a byte": good.replace(sequence, b"\x78\x08Sequence\x07"),
        "keys in reverse": data(dict(reversed(fields().items()))),
        "keys by bytes": data(dict(sorted(fields().items()))),
        "key twice": head(5, 7) + item("TTL") + item(1) + good[1:],
        "indefinite map": b"\xbf" + good[1:] + b"\xff",
        "indefinite text": good.replace(sequence, b"\x7f\x68Sequence\xff\x07"),
        "tag": b"\xd9\xd9\xf7" + good,
        "double": good.replace(sequence, b"hSequence\xfb\x40\x1c" + bytes(6)),
        "negative": good.replace(sequence, b"hSequence\x26"),
        "null": good.replace(sequence, b"hSequence\xf6"),
        "list": good.replace(sequence, b"hSequence\x81\x07"),
        "trailing byte": good + b"\0",
        "text not UTF-8": good.replace(b"ValidityType", b"ValidityTyp\xff"),
        "33 fields": data({f"{number:02}": number for number in range(33)}),
    }.items():
        yield case(name, signed(content), verdict)


def _fields() -> Iterator[Case]:
    for name in fields():
        rest = {other: value for other, value in fields().items() if other != name}
        yield case(f"no {name}", signed(data(rest)), "document.bad-field")
    yield changed("value as a text", Value="/ipfs/" + CID)
    yield changed("value of another name", Value=b"/ipns/" + NAME.encode())
    yield changed("value beyond ASCII", Value=b"/ipfs/\xc3\xa9")
    yield changed("value of 1025 characters", Value=b"/ipfs/" + b"a" * 1019)
    yield changed("validity of another type", ValidityType=1)
    yield changed("validity in a zone", Validity=b"2025-11-22T00:00:00+00:00")
    yield changed("validity on no day", Validity=b"2025-11-31T00:00:00Z")
    yield changed("ten digits of a second", Validity=b"2025-11-22T00:00:00.0000000000Z")
    yield changed("sequence of 2^63", Sequence=2**63)
    yield changed("TTL of 2^63", TTL=2**63)


def _announcements() -> Iterator[Case]:
    good = announced()
    for name, content in {
        "announcement in bytes": good.encode(),
        "announcement with spaces": good.replace(":", ": "),
        "announcement in escapes": good.replace("manifest_cid", "\\u006danifest_cid"),
        "announcement with a key twice": '{"a":{},"a":{}}',
        "announcement that is a list": "[]",
        "announcement with a float": '{"a":1.5}',
        "nine levels": '{"a":' + "[" * 8 + "]" * 8 + "}",
        "17 places": canonical({f"c{number:02}/amd64": place() for number in range(17)}).decode(),
        "place without an architecture": canonical({"stable": place()}).decode(),
        "place without a CID": announced(manifest_cid=None),
        "CID of another base": announced(manifest_cid="Qm" + "a" * 44),
        "nine mirrors": announced(mirrors=[MIRROR] * 9),
        "mirror that is no manifest": announced(mirrors=["https://mirror.example/"]),
        "mirror by FTP": announced(mirrors=["ftp://mirror.example/manifest.json"]),
        "nine providers": announced(providers=["/ip4/192.0.2.1/tcp/4001"] * 9),
        "provider that is no multiaddr": announced(providers=["192.0.2.1:4001"]),
    }.items():
        yield changed(name, _phase_boot=content)


def _times() -> Iterator[Case]:
    yield case("its last second", GOOD, now="2025-11-21T23:59:59Z")
    yield case("expired", GOOD, "record.expired", now="2025-11-22T00:00:00Z")
    yield case("366 days ahead", GOOD, now="2024-11-21T00:00:00Z")
    yield case("a year and more ahead", GOOD, "record.too-far-ahead", now="2024-11-20T23:59:59Z")
    yield case("seen before", GOOD, wanted={"newest": text(GOOD)})
    older = signed(data(fields(Sequence=6)))
    yield case("newer than one seen before", GOOD, wanted={"newest": text(older)})
    newer = text(signed(data(fields(Sequence=8))))
    yield case("lower sequence", GOOD, "record.replayed", wanted={"newest": newer})
    longer = text(signed(data(fields(Validity=b"2025-11-22T00:00:01Z"))))
    yield case("earlier validity", GOOD, "record.replayed", wanted={"newest": longer})
