"""Records of the DHT, as they come and as if the publisher had signed them."""

from __future__ import annotations

import re

from phase_boot.drill.sample_manifest import NOW
from phase_boot.trust.fields import MAX_MIRRORS
from phase_boot.trust.record import MAX_BYTES, MAX_PROVIDERS, select
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_INTEGER, canonical
from tests.fuzz.signing import as_signed
from tests.fuzz.target import Target
from tests.support.dht_records import body, read, signed

_OTHER = read(signed(body()))


def one(data: bytes) -> None:
    _judge(data)
    _judge(as_signed(data, "signature", signed))


def _judge(raw: bytes) -> None:
    try:
        record = read(raw)
    except Refusal:
        return
    assert record.raw == raw
    assert len(raw) <= MAX_BYTES
    assert record.expires > NOW
    assert 0 <= record.seq <= MAX_INTEGER
    assert len(record.mirrors) <= MAX_MIRRORS
    assert len(record.providers) <= MAX_PROVIDERS
    assert all(re.fullmatch(r"[!-~]+", text) for text in record.mirrors + record.providers)
    assert select([record, _OTHER]) == select([_OTHER, record])


TARGET = Target(
    one=one,
    starts={
        "good": signed(body()),
        "unsigned": canonical(body()),
        "nowhere": signed(body(mirrors=[], providers=[])),
        "peer": signed(body(providers=["/p2p/12D3KooW", "/dnsaddr/a.example/p2p/12D3KooW"])),
        "misplaced": signed(body(channel="nightly")),
        "expired": signed(body(expires="2025-11-01T00:00:00Z")),
        "more": signed(body(motto="la bora è forte", seq=MAX_INTEGER)),
    },
    max_len=MAX_BYTES + 64,
    words=(
        *(b'"%s":' % name.encode() for name in (*body(), "signature")),
        b"/ip4/192.0.2.7/tcp/4001",
        b"/p2p/12D3KooW",
        b"https://",
        b"2099-01-01T00:00:00Z",
    ),
)
