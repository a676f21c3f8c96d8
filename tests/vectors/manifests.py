"""Vectors of manifests that are believed, and of those that are not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any, Final

from tests.vectors.case import (
    MANIFEST,
    NEW_PUBLISHER,
    PUBLISHER,
    ROOT,
    ROOT_1,
    ROOT_2,
    ROOT_KEY,
    SECOND,
    THIRD,
    UNTRUSTED_KEY,
    Case,
    by_keys,
    by_roots,
    canonical,
    channel,
    entry,
    manifest,
    message,
    root,
    signed,
    signed_root,
    spelled,
    text,
    wanted,
)

GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
LIMIT: Final = 64 * 1024
ONE: Final = by_keys(PUBLISHER)
TWO_OF_THREE: Final = by_keys(PUBLISHER, SECOND, THIRD, threshold=2)
GOOD: Final = signed(manifest())
IDENTITY: Final = "ed25519:01" + "00" * 31
"""The neutral element as a public key: under lax rules anybody signs for it."""


def case(name: str, raw: bytes, verdict: str = "ok", **more: Any) -> Case:
    """Return a vector of a manifest."""
    fields = {"trusted": ONE, "wanted": wanted(), **more}
    return Case(
        name=f"manifest: {name}", kind="manifest", documents=[raw], verdict=verdict, **fields
    )


def good() -> Iterator[Case]:
    """What must be believed, however it is spelled."""
    body = manifest()
    whole = {**body, "signatures": [entry(body)]}
    yield case("canonical", canonical(whole))
    yield case("names in reverse", spelled(dict(reversed(whole.items()))))
    yield case("white space of every kind", b"\r\n\t " + GOOD.replace(b", ", b" \t\r\n , ") + b"\n")
    yield case("unknown fields are signed", signed(manifest(motto={"la": ["bora", None, True]})))
    yield case("two of three", signed(body, SECOND, PUBLISHER), trusted=TWO_OF_THREE)
    yield case("a stranger beside the publisher", signed(body, UNTRUSTED_KEY, PUBLISHER))
    bad = {"keyid": PUBLISHER.keyid, "sig": text(bytes(64))}
    yield case(
        "a bad entry before a good one of the same key",
        spelled({**body, "signatures": [bad, entry(body)]}),
    )
    yield from _texts()
    yield case(
        "the largest and the smallest number", signed(manifest(x=2**53 - 1, y=-(2**53) + 1, z=0))
    )
    yield case("sixteen levels", signed(manifest(deep=_nested(15))))
    yield case("brackets in a text are no nesting", signed(manifest(text='[{\\"' * 20)))
    yield case("as large as allowed", GOOD, spaces=LIMIT - len(GOOD))
    yield case("the kernel's name of the architecture", signed(manifest(arch="x86_64")))
    yield case("parts of seconds", signed(manifest(issued="2025-11-12T08:00:00.25Z")))
    yield case("its last second", GOOD, now="2025-12-12T07:59:59Z")
    yield case("issued a day ahead of the clock", GOOD, now="2025-11-11T08:00:00Z")
    yield case("the lowest version itself", signed(manifest(version="2025.10.1")))
    yield case("the version that was seen", GOOD, wanted=wanted(seen="2025.11.12"))
    yield case("a higher one by a further number", GOOD, wanted=wanted(seen="2025.11"))
    yield case("under a root", GOOD, trusted=by_roots(ROOT_1))
    yield case(
        "under the root that replaced the key, after a fast-forward by the stolen one",
        signed(body, NEW_PUBLISHER),
        trusted=by_roots(ROOT_1, ROOT_2),
    )


def _texts() -> Iterator[Case]:
    accents = manifest(motto="caf\u00e9 \u4e16\u754c \U0001f600")
    raw = signed(accents)
    yield case("text beyond ASCII", raw)
    yield case(
        "the same in escapes",
        raw.decode()
        .encode("ascii", "backslashreplace")
        .replace(b"\\xe9", b"\\u00e9")
        .replace(b"\\U0001f600", b"\\ud83d\\ude00"),
    )
    odd = 'quote " backslash \\ slash / bell \u0007 feed \n\r\t\b\f DEL \u007f line \u2028 end'
    raw = signed(manifest(odd=odd))
    yield case("controls in escapes", raw)
    yield case("needless escapes", raw.replace(b"slash /", b"\\u0073lash \\/"))
    yield case(
        "names sorted by UTF-16", signed({**manifest(), "\uff21": 1, "\U0001f600": 2, "a": 3})
    )


def malformed() -> Iterator[Case]:
    """Bytes that two readers could read differently, or that cost too much to read."""
    not_json, doubled = "document.not-json", "document.duplicate-key"
    number, bad_text = "document.not-an-integer", "document.bad-text"
    yield case("empty", b"", not_json)
    yield case("a list", b"[" + GOOD + b"]", not_json)
    yield case("byte order mark", b"\xef\xbb\xbf" + GOOD, not_json)
    yield case("trailing bytes", GOOD + b"x", not_json)
    yield case("trailing zero byte", GOOD + b"\0", not_json)
    yield case("two documents", GOOD + GOOD, not_json)
    yield case("cut off", GOOD[:-1], not_json)
    yield case("not UTF-8", GOOD.replace(b"quiet", b"qui\xff"), not_json)
    yield case("UTF-16", GOOD.decode().encode("utf-16"), not_json)
    yield case("line feed in a text", GOOD.replace(b"quiet", b"qui\net"), not_json)
    yield case("comma after the last", GOOD[:-1] + b",}", not_json)
    yield case("a comment", GOOD[:-1] + b"/* */}", not_json)
    yield case("leading zero", GOOD.replace(b": 6,", b": 06,"), not_json)
    again = b'"cmdline": "init=/bin/sh", "cmdline"'
    yield case("a name twice", GOOD.replace(b'"cmdline"', again), doubled)
    escaped = b'"\\u0063mdline": "init=/bin/sh", "cmdline"'
    yield case("a name twice, once in escapes", GOOD.replace(b'"cmdline"', escaped), doubled)
    yield case(
        "a name twice further in",
        GOOD.replace(b'"kernel": 6', b'"kernel": 6, "kernel": 6'),
        doubled,
    )
    for spelling in ("6.0", "6e0", "-0", "NaN", "Infinity", "-Infinity", "9007199254740992"):
        raw = GOOD.replace(b'"kernel": 6', b'"kernel": ' + spelling.encode())
        yield case(f"the number {spelling}", raw, number)
    yield case("not NFC", signed(manifest(motto="cafe\u0301")), bad_text)
    yield case("a name that is not NFC", signed({**manifest(), "e\u0301": 1}), bad_text)
    yield case("half a surrogate pair", GOOD.replace(b"quiet", b"\\ud800"), bad_text)
    yield case("surrogates in the wrong order", GOOD.replace(b"quiet", b"\\ude00\\ud83d"), bad_text)
    yield case("a text that is too long", signed(manifest(motto="x" * 4097)), bad_text)
    yield case("seventeen levels", signed(manifest(deep=_nested(16))), "document.too-deep")
    yield case("one byte too large", GOOD, "document.too-large", spaces=LIMIT - len(GOOD) + 1)


def _nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def ill_signed() -> Iterator[Case]:
    """Signatures that are none, or not enough."""
    body = manifest()
    yield case("no signatures", spelled(body), "signature.none")
    yield case("an empty list of signatures", spelled({**body, "signatures": []}), "signature.none")
    yield case("by a stranger", signed(body, UNTRUSTED_KEY), "signature.untrusted")
    loud = {**entry(body), "keyid": "ed25519:" + PUBLISHER.keyid[8:].upper()}
    yield case("key id in upper case", _with(body, loud), "signature.untrusted")
    yield case("one of two", signed(body), "signature.threshold", trusted=TWO_OF_THREE)
    twice = signed(body, PUBLISHER, PUBLISHER)
    yield case("one key twice for two", twice, "signature.threshold", trusted=TWO_OF_THREE)
    yield case(
        "one key in two spellings for two",
        _with(body, entry(body), loud),
        "signature.threshold",
        trusted=TWO_OF_THREE,
    )
    yield case("33 signatures", _with(body, *[entry(body)] * 33), "document.bad-field")
    yield case(
        "an entry without sig", _with(body, {"keyid": PUBLISHER.keyid}), "document.bad-field"
    )
    yield from _forged()


def _forged() -> Iterator[Case]:
    bad, body = "signature.bad", manifest()
    yield case("changed after signing", GOOD.replace(b"quiet", b"break"), bad)
    added = spelled({**body, "dags": {}, "signatures": [entry(body)]})
    yield case("a field added after signing", added, bad)
    stolen = {**entry(body, UNTRUSTED_KEY), "keyid": PUBLISHER.keyid}
    yield case("a stranger under the publisher's name", _with(body, stolen), bad)
    yield case("signed without context", _with(body, entry(body, context=b"")), bad)
    yield case("signed in the context of a root", _with(body, entry(body, context=ROOT)), bad)
    spaced = text(PUBLISHER.sign(MANIFEST + spelled(body)))
    yield case("signed as it is spelled", _with(body, {**entry(body), "sig": spaced}), bad)
    sig = PUBLISHER.sign(message(body, MANIFEST))
    high = int.from_bytes(sig[32:], "little") + GROUP_ORDER
    malleable = text(sig[:32] + high.to_bytes(32, "little"))
    yield case("S plus the order of the group", _with(body, {**entry(body), "sig": malleable}), bad)
    good = text(sig)
    for name, spelling in (
        ("unused bits set", good[:-3] + chr(ord(good[-3]) + 1) + "=="),
        ("no padding", good.rstrip("=")),
        ("a line feed at its end", good + "\n"),
        ("a space in it", good[:44] + " " + good[44:]),
        ("the alphabet of URLs", base64.urlsafe_b64encode(sig).decode()),
        ("63 bytes", text(sig[:-1])),
        ("65 bytes", text(sig + b"\0")),
    ):
        yield case(f"base64 with {name}", _with(body, {**entry(body), "sig": spelling}), bad)
    yield from _small_order()


def _small_order() -> Iterator[Case]:
    """The public key is the neutral element: S * B = R holds for any message."""
    body = manifest()
    trusted = {"keys": [IDENTITY], "threshold": 1}
    scalar = bytearray(hashlib.sha512(b"\x55" * 32).digest()[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    number = int.from_bytes(scalar, "little") % GROUP_ORDER
    point = bytes.fromhex(type(PUBLISHER)(b"\x55" * 32).keyid[8:])
    for name, sig in (
        ("and R as well", b"\x01" + bytes(63)),
        ("and R is not", point + number.to_bytes(32, "little")),
    ):
        raw = _with(body, {"keyid": IDENTITY, "sig": text(sig)})
        yield case(f"the key is of small order {name}", raw, "signature.bad", trusted=trusted)


def _with(body: dict[str, object], *signatures: object) -> bytes:
    return spelled({**body, "signatures": list(signatures)})


def unfit() -> Iterator[Case]:
    """Well signed, and still not to be booted."""
    unusable: dict[str, dict[str, object]] = {
        "no version": {"version": None},
        "a version with letters": {"version": "1.0-rc1"},
        "a channel in upper case": {"channel": "Stable"},
        "an unknown architecture": {"arch": "sparc"},
        "a date with an offset": {"issued": "2025-11-12T09:00:00+01:00"},
        "a date as a number": {"expires": 1765526400},
        "it expires when it is issued": {"expires": "2025-11-12T08:00:00Z"},
        "a line feed in the command line": {"cmdline": "quiet\nroot=/dev/sda"},
        "no rootfs": {"artifacts": {"kernel": f"sha256:{'0' * 64}"}, "sizes": {"kernel": 1}},
        "a digest in upper case": {
            "artifacts": dict.fromkeys(("kernel", "initramfs", "rootfs"), f"sha256:{'A' * 64}")
        },
        "a size of nothing": {"sizes": {"kernel": 0, "initramfs": 9, "rootfs": 6000}},
        "true as a size": {"sizes": {"kernel": True, "initramfs": 9, "rootfs": 6000}},
        "no size": {"sizes": {"kernel": 6, "initramfs": 9}},
        "a mirror of another kind": {"mirrors": ["ftp://mirror.example/"]},
    }
    for name, changes in unusable.items():
        yield case(name, signed(manifest(**changes)), "document.bad-field")
    elsewhere = signed(manifest(arch="arm64", channel="nightly", expires="2025-11-13T00:00:00Z"))
    yield case(
        "another architecture, before anything else", elsewhere, "manifest.wrong-architecture"
    )
    yield case("another channel", signed(manifest(channel="nightly")), "manifest.wrong-channel")
    yield case("the second it expires", GOOD, "manifest.expired", now="2025-12-12T08:00:00Z")
    yield case("issued more than a day ahead", GOOD, "clock.doubtful", now="2025-11-11T07:59:59Z")
    yield case(
        "below the lowest version", signed(manifest(version="2025.9.30")), "manifest.too-old"
    )
    yield case(
        "below the version that was seen",
        GOOD,
        "manifest.rollback",
        wanted=wanted(seen="2025.11.12.1"),
    )
    yield case(
        "by a stranger, whatever else is wrong",
        signed(manifest(arch="sparc"), UNTRUSTED_KEY),
        "signature.untrusted",
    )
    yield from _under_roots()


def _under_roots() -> Iterator[Case]:
    yield case(
        "by the key that was replaced",
        GOOD,
        "signature.untrusted",
        trusted=by_roots(ROOT_1, ROOT_2),
    )
    yield case(
        "by the keeper of the root",
        signed(manifest(), ROOT_KEY),
        "signature.untrusted",
        trusted=by_roots(ROOT_1),
    )
    short = signed_root(root(channels={"stable": channel(expires="2025-11-20T00:00:00Z")}))
    yield case("the delegation expired", GOOD, "root.expired", trusted=by_roots(short))
    yield case(
        "last second of the delegation", GOOD, trusted=by_roots(short), now="2025-11-19T23:59:59Z"
    )
    other = signed_root(root(channels={"nightly": channel()}))
    yield case("a channel of nobody", GOOD, "root.no-such-channel", trusted=by_roots(other))
    two = {"stable": channel(PUBLISHER), "beta": channel(SECOND)}
    by_second = signed(manifest(), SECOND)
    yield case(
        "by another channel's publisher",
        by_second,
        "signature.untrusted",
        trusted=by_roots(signed_root(root(channels=two))),
    )


def cases() -> Iterator[Case]:
    """All vectors of manifests."""
    yield from good()
    yield from malformed()
    yield from ill_signed()
    yield from unfit()
