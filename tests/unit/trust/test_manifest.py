from __future__ import annotations

from datetime import UTC, datetime

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import KERNEL, document, encoded
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.refusals import BadField
from phase_boot.trust.strict_json import read_document

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


def test_a_chunk_list_is_found_by_the_dag_that_it_lists() -> None:
    dag = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
    listed = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    lists = dict.fromkeys(("kernel", "rootfs"), listed)
    manifest = Manifest.of(document(dags={"rootfs": dag}, chunk_lists=lists))
    assert manifest.lists_of_dags() == {Cid.parse(dag): Cid.parse(listed)}


def test_an_artifact_of_an_unknown_name_is_kept() -> None:
    body = document(
        artifacts=dict.fromkeys((*SIZES, "devicetree"), DIGEST),
        sizes={**SIZES, "devicetree": 1},
    )
    assert "devicetree" in Manifest.of(body).artifacts


def test_optional_fields_may_be_absent() -> None:
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
        ("chunk_lists", ["kernel"]),
        ("chunk_lists", {"kernel": "b/../.."}),
        ("chunk_lists", {"nothing": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}),
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


ARTIFACTS = dict.fromkeys(SIZES, DIGEST)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "x"}, "version is not usable (a version is dotted whole numbers such as"),
        ({"version": 7}, "version is not usable (not a text)"),
        ({"channel": "A"}, "channel is not usable (a channel is 1 to 32 of a-z, 0-9 and -)"),
        ({"arch": "sparc"}, "arch is not usable ('sparc' is not a valid Arch)"),
        ({"issued": None}, "issued is not usable (missing)"),
        ({"expires": "never"}, "expires is not usable (a date is written as 2025-11-12T08:00:00Z)"),
        ({"expires": "2025-11-12T08:00:00Z"}, "expires is not usable (not later than issued)"),
        ({"cmdline": "\n"}, "cmdline is not usable (too long, or with characters that do not"),
        ({"mirrors": 7}, "mirrors is not usable (not a list of at most 16)"),
        ({"mirrors": ["x"]}, "mirrors is not usable (it does not start with http:// or https://"),
        ({"dags": 7}, "dags is not usable (not an object)"),
        ({"dags": {"x": "b"}}, "dags.x is not usable (no such artifact)"),
        ({"dags": {"kernel": 7}}, "dags.kernel is not usable (not a text)"),
        ({"artifacts": None}, "artifacts is not usable (missing)"),
        ({"artifacts": {"kernel": DIGEST}}, "artifacts.initramfs is not usable (missing)"),
        ({"artifacts": {**ARTIFACTS, "rootfs": "x"}}, "artifacts.rootfs is not usable ("),
        (
            {"artifacts": {**ARTIFACTS, "X": DIGEST}, "sizes": {**SIZES, "X": 1}},
            "artifacts.X is not usable (not a name)",
        ),
        (
            {"artifacts": ARTIFACTS | {f"n{n}": DIGEST for n in range(30)}},
            "artifacts is not usable (more than 32)",
        ),
        ({"sizes": 7}, "sizes is not usable (not an object)"),
        ({"sizes": {**SIZES, "x": 1}}, "sizes.x is not usable (no such artifact)"),
        (
            {"sizes": {"kernel": 1, "rootfs": 1}},
            "sizes.initramfs is not usable (not a whole number from 1 to 1099511627776)",
        ),
    ],
)
def test_the_message_about_a_field_names_it_and_the_reason(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadField) as refused:
        Manifest.of(document(**changes))
    assert str(refused.value).startswith(f"The field {message}")


def test_the_bounds_themselves_are_allowed() -> None:
    names = [*SIZES, *(f"n{n}" for n in range(28)), "a" * 64]
    body = document(
        version="1" * 64,
        channel="c" * 32,
        artifacts=dict.fromkeys(names, DIGEST),
        sizes=dict.fromkeys(names, 1) | {"kernel": 2**40},
        cmdline=" ~" * 512,
        mirrors=[f"http://m{n}.example" for n in range(16)],
        expires="2025-11-12T08:00:00.000001Z",
    )
    manifest = Manifest.of(body)
    assert len(manifest.artifacts) == 32
    assert manifest.artifacts["kernel"].size == 2**40
    assert manifest.artifacts["n0"] == Artifact("n0", Digest.of(KERNEL), 1)
    assert len(manifest.cmdline) == 1024
    assert len(manifest.mirrors) == 16


def test_a_manifest_never_changes() -> None:
    manifest = Manifest.of(document())
    for table in (manifest.artifacts, manifest.dags, manifest.chunk_lists):
        with pytest.raises(TypeError):
            table["kernel"] = None  # type: ignore[index] # it must fail
