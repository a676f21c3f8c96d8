from __future__ import annotations

from datetime import UTC, datetime

import pytest

from phase_boot.store.digest import Digest
from phase_boot.trust.arch import Arch
from phase_boot.trust.document import read_document
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.refusals import BadField
from tests.fakes.manifests import KERNEL, document, encoded

SIZES = {"kernel": 6, "initramfs": 9, "rootfs": 6000}
DIGEST = str(Digest.of(KERNEL))


def test_the_fields_of_a_manifest_are_read() -> None:
    manifest = Manifest.of(
        document(dags={"kernel": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"})
    )
    assert str(manifest.version) == "2025.11.12"
    assert manifest.arch is Arch.AMD64
    assert manifest.artifacts["kernel"].digest == Digest.of(KERNEL)
    assert manifest.artifacts["kernel"].size == len(KERNEL)
    assert manifest.issued == datetime(2025, 11, 12, 8, tzinfo=UTC)
    assert manifest.mirrors == ("https://mirror.example/stable/",)
    assert {name: str(cid) for name, cid in manifest.dags.items()} == {
        "kernel": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    }


def test_an_artifact_of_an_unknown_name_is_kept() -> None:
    body = document(
        artifacts=dict.fromkeys((*SIZES, "devicetree"), DIGEST),
        sizes={**SIZES, "devicetree": 1},
    )
    assert "devicetree" in Manifest.of(body).artifacts


def test_what_is_optional_may_be_left_out() -> None:
    manifest = Manifest.of(document(cmdline=None, mirrors=None))
    assert (manifest.cmdline, manifest.mirrors, manifest.dags) == ("", (), {})


def test_an_unknown_field_is_signed_and_otherwise_ignored() -> None:
    body = document(motto={"la": ["bora"]})
    assert Manifest.of(body) == Manifest.of(document())
    assert signed_bytes(body) != signed_bytes(document())


def test_the_signed_bytes_are_canonical_json_without_the_signatures() -> None:
    body = read_document(b'{"b": [2, "\\u00e9"], "signatures": [], "a": {"y": 1, "x": null}}')
    assert signed_bytes(body) == (
        b'phase-boot-manifest-v1\n{"a":{"x":null,"y":1},"b":[2,"' + "é".encode() + b'"]}'
    )


def test_the_spelling_of_the_file_does_not_change_the_signed_bytes() -> None:
    body = document()
    assert signed_bytes(read_document(encoded(body))) == signed_bytes(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", None),
        ("version", 20251112),
        ("version", "2025-11-12"),
        ("channel", "Stable"),
        ("channel", "../etc"),
        ("channel", "c" * 33),
        ("channel", ""),
        ("arch", "sparc"),
        ("arch", ["amd64"]),
        ("issued", "2025-11-12"),
        ("issued", "2025-11-12T08:00:00+01:00"),
        ("issued", "2025-13-12T08:00:00Z"),
        ("issued", "0000-01-01T00:00:00Z"),
        ("issued", 1762934400),
        ("expires", None),
        ("expires", "2025-11-12T08:00:00Z"),
        ("cmdline", "quiet\nroot=/dev/sda"),
        ("cmdline", "q\u00fcet"),
        ("cmdline", "x" * 1025),
        ("cmdline", ["quiet"]),
        ("mirrors", "https://mirror.example/"),
        ("mirrors", ["ftp://mirror.example/"]),
        ("mirrors", ["https://user@mirror.example/"]),
        ("mirrors", ["https://mirror.example/\r\nX: y"]),
        ("mirrors", [f"https://m{n}.example/" for n in range(17)]),
        ("mirrors", [1]),
        ("dags", []),
        ("dags", {"kernel": "b/../.."}),
        ("dags", {"nothing": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}),
        ("artifacts", None),
        ("artifacts", []),
        ("artifacts", {}),
        ("artifacts", dict.fromkeys(("kernel", "initramfs"), DIGEST)),
        ("artifacts", {name: DIGEST.upper() for name in SIZES}),
        ("artifacts", dict.fromkeys(SIZES, DIGEST[:-1])),
        ("artifacts", dict.fromkeys(SIZES, DIGEST + "\n")),
        ("artifacts", dict.fromkeys(SIZES, f"sha256:{'/' * 64}")),
        ("artifacts", dict.fromkeys(SIZES, 7)),
        ("artifacts", dict.fromkeys((*SIZES, "../x"), DIGEST)),
        ("artifacts", dict.fromkeys((*SIZES, *(f"n{n}" for n in range(30))), DIGEST)),
        ("sizes", None),
        ("sizes", {"kernel": 6, "initramfs": 9}),
        ("sizes", {**SIZES, "kernel": 0}),
        ("sizes", {**SIZES, "kernel": -1}),
        ("sizes", {**SIZES, "kernel": True}),
        ("sizes", {**SIZES, "kernel": "6"}),
        ("sizes", {**SIZES, "kernel": 2**40 + 1}),
        ("sizes", {**SIZES, "extra": 6}),
    ],
)
def test_a_field_out_of_its_bounds_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        Manifest.of(document(**{field: value}))
