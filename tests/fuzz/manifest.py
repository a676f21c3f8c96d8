"""Manifests, as they come and as if the publisher had signed them."""

from __future__ import annotations

from phase_boot.drill.sample_manifest import NOW, PUBLISHER, document, signed
from phase_boot.trust.fields import MAX_MIRRORS
from phase_boot.trust.manifest import MAX_SIZE, REQUIRED, Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import canonical, read_document
from phase_boot.trust.verify import verify
from tests.fuzz.signing import as_signed
from tests.fuzz.target import Target
from tests.support.manifests import REQUIREMENTS, SECOND, TRUST


def one(data: bytes) -> None:
    _judge(data)
    _judge(as_signed(data, "signatures", signed))


def _judge(raw: bytes) -> None:
    try:
        verified = verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW)
    except Refusal:
        return
    facts = verified.manifest
    assert verified.raw == raw
    assert verified.signers == (PUBLISHER.keyid,)
    assert (facts.arch, facts.channel) == (REQUIREMENTS.arch, REQUIREMENTS.channel)
    assert facts.version >= REQUIREMENTS.min_version
    assert facts.expires > max(NOW, facts.issued)
    assert facts.artifacts.keys() >= set(REQUIRED)
    assert all(1 <= artifact.size <= MAX_SIZE for artifact in facts.artifacts.values())
    assert facts.dags.keys() <= facts.artifacts.keys()
    assert len(facts.mirrors) <= MAX_MIRRORS
    assert facts.cmdline.isascii()
    assert Manifest.of(read_document(canonical(read_document(raw)))) == facts


_CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

TARGET = Target(
    one=one,
    starts={
        "good": signed(document()),
        "both": signed(document(), PUBLISHER, SECOND),
        "unsigned": canonical(document()),
        "dags": signed(document(dags={"kernel": _CID})),
        "more": signed(document(motto="la bora è forte", deep=[[[{"a": None, "b": [True]}]]])),
        "expired": signed(document(expires="2025-11-13T00:00:00Z")),
        "fraction": signed(document(issued="2025-11-12T08:00:00.123456Z")),
    },
    max_len=16 * 1024,
    words=(
        *(b'"%s":' % name.encode() for name in (*document(), "dags", "signatures", "keyid", "sig")),
        b'"sha256:',
        b"9007199254740991",
        b"\\u0000",
        b"\\ud800",
        b"2025-11-12T08:00:00Z",
        b"https://",
    ),
)
