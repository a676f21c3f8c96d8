"""Hand-over documents."""

from __future__ import annotations

from phase_boot.drill import sample_manifest as manifests
from phase_boot.drill.sample_manifest import NOW
from phase_boot.handoff.document import (
    MAX_ADDRESSES,
    MAX_SIGNERS,
    MAX_SOURCES,
    SCHEMA,
    BadHandoff,
    CachePartition,
    ManifestSource,
    Network,
    document,
    read,
)
from phase_boot.trust.verify import verify
from tests.fuzz.target import Target
from tests.support.manifests import REQUIREMENTS, TRUST


def one(data: bytes) -> None:
    try:
        found = read(data)
    except BadHandoff:
        return
    assert read(found.encode()) == found
    assert found.manifest.encode().decode() == found.manifest
    assert len(found.sources) <= MAX_SOURCES
    assert len(found.signers) <= MAX_SIGNERS
    assert found.network is None or len(found.network.addresses) <= MAX_ADDRESSES


_VERIFIED = verify(
    manifests.signed(manifests.document()), trust=TRUST, requirements=REQUIREMENTS, now=NOW
)
_LINK = Network(
    interface="enp1s0.7",
    addresses=("192.0.2.7/24", "fe80::1%enp1s0/64"),
    gateways=("192.0.2.1",),
    dns=("192.0.2.53",),
    vlan="7",
    proxy="http://192.0.2.9:3128",
)

TARGET = Target(
    one=one,
    starts={
        "good": document(
            mode="local",
            manifest=_VERIFIED,
            network=_LINK,
            cache=CachePartition(
                guid="7068a5e0-0000-8000-8000-000000000003",
                location="/pci0000:00/0000:00:03.0/virtio",
            ),
            manifest_source=ManifestSource(
                manifest="http://192.0.2.7:8080/stable/amd64/manifest.json?a=b",
                provider="http://192.0.2.7:8080/?a=b",
            ),
            sources={"kernel": "http://192.0.2.7:8080", "rootfs": "store"},
            journal=('{"seq": 0, "event": "è"}', "\N{SNOWMAN}"),
        ),
        "bare": document(mode="private", manifest=_VERIFIED, network=None, sources={}, journal=()),
        "schema": b'{"schema": "%s"}' % SCHEMA.encode(),
    },
    max_len=64 * 1024,
    words=(
        *(b'"%s":' % name for name in (b"schema", b"mode", b"version", b"manifest", b"signers")),
        *(
            b'"%s":' % name
            for name in (b"network", b"interface", b"addresses", b"vlan", b"origin", b"sources")
        ),
        b'"journal":',
        b'"cache":',
        b"\\ud800",
        b"\\u0000",
        b"NaN",
    ),
)
