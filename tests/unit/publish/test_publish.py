from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS
from phase_boot.publish.dates import parse_expiry
from phase_boot.publish.errors import PublishError
from phase_boot.publish.site import open_site
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.signatures import Trust
from phase_boot.trust.strict_json import read_document
from phase_boot.trust.verify import BootRequirements, verify
from tests.support.kernels import arm64_image, uki
from tests.support.publishing import PUBLISH, Run, entries, manifest

NOW = datetime(2025, 11, 20, tzinfo=UTC)


def test_a_published_version_verifies_on_a_machine_that_trusts_the_key(
    run: Run, workdir: Path, keyid: str
) -> None:
    status, out, err = run(
        f"{PUBLISH} --version 2025.11.12 --mirror https://m.example/", "--cmdline", "quiet splash"
    )
    assert (status, err) == (0, "")
    assert out == f"{manifest(workdir)}: version 2025.11.12\n"
    requirements = BootRequirements(
        arch=Arch.AMD64, channel="stable", min_version=Version.parse("2025")
    )
    trust = Trust(frozenset({keyid}), 1)
    found = verify(
        manifest(workdir).read_bytes(), trust=trust, requirements=requirements, now=NOW
    ).manifest
    assert found.cmdline == "quiet splash"
    assert found.mirrors == ("https://m.example/",)
    assert found.expires == datetime(2124, 11, 12, 8, tzinfo=UTC)
    for name, data in (("kernel", KERNEL), ("initramfs", INITRAMFS), ("rootfs", ROOTFS)):
        artifact = found.artifacts[name]
        assert (artifact.digest, artifact.size) == (Digest.of(data), len(data))
        path = workdir / "site" / "cas" / "sha256" / artifact.digest.hex
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.usefixtures("keyid")
def test_an_image_signed_for_secure_boot_is_published_beside_the_kernel(
    run: Run, workdir: Path
) -> None:
    (workdir / "uki").write_bytes(uki(signed=True))
    status, _, err = run(f"{PUBLISH} --version 1 --uki @/uki")
    assert (status, err) == (0, "")
    assert Digest.of(uki(signed=True)).hex in entries(workdir)
    assert '"uki"' in manifest(workdir).read_text()


@pytest.mark.usefixtures("keyid")
def test_the_same_release_is_the_same_site_byte_for_byte(run: Run, workdir: Path) -> None:
    run(f"{PUBLISH} --version 1")
    first = manifest(workdir).read_bytes()
    run(f"{PUBLISH} --version 1 --force")
    assert manifest(workdir).read_bytes() == first


@pytest.mark.usefixtures("keyid")
def test_publishing_again_adds_a_version_and_keeps_the_store(run: Run, workdir: Path) -> None:
    run(f"{PUBLISH} --version 1")
    before = entries(workdir)
    newer = bzimage(b"a newer kernel")
    (workdir / "kernel").write_bytes(newer)
    assert run(f"{PUBLISH} --version 1.1")[0] == 0
    assert entries(workdir) == before | {Digest.of(newer).hex}
    assert json.loads(manifest(workdir).read_bytes())["version"] == "1.1"


@pytest.mark.parametrize("version", ["2025.11.12", "2025.11.11", "2025.11.012"])
@pytest.mark.usefixtures("keyid")
def test_a_version_that_is_not_higher_is_refused(run: Run, workdir: Path, version: str) -> None:
    run(f"{PUBLISH} --version 2025.11.12")
    before = manifest(workdir).read_bytes()
    status, out, err = run(f"{PUBLISH} --version {version}")
    assert (status, out) == (1, "")
    assert "not higher than the published 2025.11.12" in err
    assert manifest(workdir).read_bytes() == before
    assert run(f"{PUBLISH} --version {version} --force")[0] == 0


@pytest.mark.usefixtures("keyid")
def test_another_channel_has_versions_of_its_own(run: Run, workdir: Path) -> None:
    run(f"{PUBLISH} --version 9")
    nightly = PUBLISH.replace("stable", "nightly")
    assert run(f"{nightly} --version 1")[0] == 0
    (workdir / "kernel").write_bytes(arm64_image())
    assert run(f"{nightly.replace('amd64', 'aarch64')} --version 1")[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ("--version one", 2, "--version 'one'"),
        ("--version 1 --arch sparc", 2, "--arch 'sparc'"),
        ("--version 1 --channel ../etc", 2, "--channel '../etc'"),
        ("--version 1 --expires tomorrow", 2, "--expires 'tomorrow'"),
        ("--version 1 --expires +999999w", 2, "too far"),
        ("--version 1 --expires 2020-01-01T00:00:00Z", 1, "not later than issued"),
        ("--version 1 --mirror ftp://m.example/", 2, "--mirror 'ftp://m.example/'"),
        ("--version 1 --mirror http://m.example:99999/", 2, "a number from 1 to 65535"),
        ("--version 1 --rootfs @/missing", 1, "missing cannot be used: No such file"),
        ("--version 1 --rootfs @", 1, "Is a directory"),
        ("--version 1 --key @/kernel", 1, "is not a key file"),
        ("--version 1 --key @/missing", 1, "missing cannot be read"),
        ("--version 1 --out @/kernel", 1, "kernel cannot be used"),
    ],
)
@pytest.mark.usefixtures("keyid")
def test_publishing_errors_are_one_sentence(
    run: Run, workdir: Path, words: str, status: int, why: str
) -> None:
    (workdir / "kernel").chmod(0o600)
    found, out, err = run(f"{PUBLISH} {words}")
    assert (found, out) == (status, "")
    assert why in err
    assert err.count("\n") == 1
    assert not manifest(workdir).exists()


@pytest.mark.usefixtures("keyid")
def test_an_empty_artifact_is_not_published(run: Run, workdir: Path) -> None:
    (workdir / "rootfs").write_bytes(b"")
    status, _, err = run(f"{PUBLISH} --version 1")
    assert (status, "The rootfs" in err, "is empty" in err) == (1, True, True)


@pytest.mark.usefixtures("keyid")
def test_a_published_manifest_that_cannot_be_read_is_not_written_over(
    run: Run, workdir: Path
) -> None:
    manifest(workdir).parent.mkdir(parents=True)
    manifest(workdir).write_text("{")
    status, _, err = run(f"{PUBLISH} --version 1")
    assert (status, "--force" in err) == (1, True)
    assert manifest(workdir).read_text() == "{"


def test_a_second_publisher_waits_for_the_first(tmp_path: Path) -> None:
    with (
        open_site(tmp_path / "site"),
        pytest.raises(PublishError, match="Another publisher"),
        open_site(tmp_path / "site"),
    ):
        pass


@pytest.mark.usefixtures("keyid")
def test_leftovers_of_a_killed_publisher_are_removed(run: Run, workdir: Path) -> None:
    left = workdir / "site" / ".publishing"
    left.mkdir(parents=True)
    (left / "rootfs").write_bytes(b"half")
    assert run(f"{PUBLISH} --version 1")[0] == 0
    assert not left.exists()


def test_two_keys_make_two_signatures_and_one_key_named_twice_makes_one(
    run: Run, workdir: Path, keyid: str
) -> None:
    other = run("key new @/other")[1].strip()
    run(f"{PUBLISH} --version 1 --key @/other --key @/key")
    signers = [entry["keyid"] for entry in json.loads(manifest(workdir).read_bytes())["signatures"]]
    assert sorted(signers) == sorted([keyid, other])


def test_a_key_is_private_and_never_overwritten(run: Run, workdir: Path, keyid: str) -> None:
    key = workdir / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    status, _, err = run("key new @/key")
    assert (status, "never overwritten" in err) == (1, True)
    assert key.read_bytes() == before
    assert run("key show @/key") == (0, f"{keyid}\n", "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
@pytest.mark.usefixtures("keyid")
def test_a_key_that_is_open_to_others_is_refused(run: Run, workdir: Path, mode: int) -> None:
    (workdir / "key").chmod(mode)
    status, _, err = run(f"{PUBLISH} --version 1")
    assert (status, f"mode {mode:04o}" in err, "chmod 600" in err) == (1, True, True)
    assert not manifest(workdir).exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"kind": "phase-boot-key-v1", "keyid": "x", "seed": "00"}',
        '{"kind": "phase-boot-key-v1", "keyid": "x", "seed": 7}',
        '{"kind": "phase-boot-key-v1", "keyid": "x", "seed": "' + "00" * 32 + '"}',
        '{"kind": "other", "keyid": "x", "seed": "' + "00" * 32 + '"}',
        "[" * 4096,
    ],
)
def test_a_damaged_key_file_is_refused(run: Run, workdir: Path, text: str) -> None:
    (workdir / "key").write_text(text)
    (workdir / "key").chmod(0o600)
    status, out, err = run("key show @/key")
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_expiry_is_a_date_or_a_span() -> None:
    issued = datetime(2025, 1, 31, 12, tzinfo=UTC)
    assert parse_expiry("+36h", issued) == datetime(2025, 2, 2, tzinfo=UTC)
    assert parse_expiry("+2w", issued) == datetime(2025, 2, 14, 12, tzinfo=UTC)
    assert parse_expiry("2025-03-01T00:00:00Z", issued) == datetime(2025, 3, 1, tzinfo=UTC)
    assert parse_expiry("+1m", issued) == datetime(2025, 2, 28, 12, tzinfo=UTC)
    assert parse_expiry("+13m", issued) == datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert parse_expiry("+1y", issued) == datetime(2026, 1, 31, 12, tzinfo=UTC)
    leap = datetime(2024, 2, 29, tzinfo=UTC)
    assert parse_expiry("+1y", leap) == datetime(2025, 2, 28, tzinfo=UTC)
    for far in ("+9000y", "+999999m", "+999999w"):
        with pytest.raises(ValueError, match="too far away"):
            parse_expiry(far, issued)
    for text in ("30d", "+30", "+d", "+1s", "2025-03-01", "2025-03-01T00:00:00"):
        with pytest.raises(
            ValueError, match=r"write 2026-01-31T00:00:00Z, or \+12h, \+90d, .*\+1y"
        ):
            parse_expiry(text, issued)


@pytest.mark.usefixtures("keyid")
def test_every_manifest_that_was_published_stays_under_the_digest_that_was_signed(
    run: Run, workdir: Path
) -> None:
    kept = workdir / "site" / "stable" / "amd64" / "manifests"
    raws = []
    for version in ("1", "2"):
        assert run(f"{PUBLISH} --version {version}")[0] == 0
        raws.append(manifest(workdir).read_bytes())
    names = [f"{Digest.of(signed_bytes(read_document(raw))).hex}.json" for raw in raws]
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == dict(
        zip(names, raws, strict=True)
    )


@pytest.mark.usefixtures("keyid")
def test_a_module_goes_into_the_store_and_not_into_the_manifest(run: Run, workdir: Path) -> None:
    (workdir / "module").write_bytes(b"\0asm")
    assert run(f"{PUBLISH} --version 1 --module @/module")[0] == 0
    assert Digest.of(b"\0asm").hex in entries(workdir)
    assert Digest.of(b"\0asm").hex not in manifest(workdir).read_text()
