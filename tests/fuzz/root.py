"""Roots of trust, as they come and as if their own keys and those before them had signed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress

from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY, encoded
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.root import MAX_CHANNELS, Root, load_trusted, signed_bytes, verify_next
from phase_boot.trust.signatures import MAX_KEYS, Trust
from phase_boot.trust.strict_json import canonical
from tests.fuzz.signing import as_signed
from tests.fuzz.target import Target
from tests.support.manifests import SECOND

_KEYS = (PUBLISHER, SECOND)


def _body(**changes: object) -> dict[str, object]:
    role = {"keys": [key.keyid for key in _KEYS], "threshold": 2}
    channel = {"keys": [UNTRUSTED_KEY.keyid], "threshold": 1, "expires": "2026-11-12T08:00:00Z"}
    return {"version": 1, "root": role, "channels": {"stable": channel}, **changes}


def _signed(body: Mapping[str, object]) -> bytes:
    message = signed_bytes(body)
    signatures = [
        {"keyid": key.keyid, "sig": base64.b64encode(key.sign(message)).decode()} for key in _KEYS
    ]
    return encoded({**body, "signatures": signatures})


_FIRST = load_trusted(_signed(_body()))


def one(data: bytes) -> None:
    _judge(data)
    _judge(as_signed(data, "signatures", _signed))


def _judge(raw: bytes) -> None:
    with suppress(Refusal):
        _check(load_trusted(raw))
    try:
        root = verify_next(_FIRST, raw)
    except Refusal:
        return
    _check(root)
    assert root.version == _FIRST.version + 1
    assert load_trusted(raw) == root


def _check(root: Root) -> None:
    assert root.version >= 1
    assert 1 <= len(root.channels) <= MAX_CHANNELS
    _check_trust(root.role)
    for delegation in root.channels.values():
        _check_trust(delegation.trust)


def _check_trust(trust: Trust) -> None:
    assert 1 <= trust.threshold <= len(trust.keys) <= MAX_KEYS


TARGET = Target(
    one=one,
    starts={
        "first": _signed(_body()),
        "second": _signed(_body(version=2)),
        "skipped": _signed(_body(version=3)),
        "unsigned": canonical(_body(version=2)),
        "stolen": _signed(
            _body(version=2, root={"keys": [UNTRUSTED_KEY.keyid], "threshold": 1}),
        ),
        "no-channel": _signed(_body(channels={})),
        "more": _signed(_body(motto="la bora è forte", version=2)),
    },
    max_len=16 * 1024,
    words=(
        *(b'"%s":' % name for name in (b"version", b"root", b"channels", b"keys", b"threshold")),
        *(b'"%s":' % name for name in (b"expires", b"signatures", b"keyid", b"sig", b"stable")),
        PUBLISHER.keyid.encode(),
        b"2099-01-01T00:00:00Z",
        b"2147483648",
    ),
)
