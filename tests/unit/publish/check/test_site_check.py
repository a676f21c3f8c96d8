from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import KERNEL, ROOTFS, UNTRUSTED_KEY
from phase_boot.trust.refusals import (
    BadSignature,
    Expired,
    Refusal,
    TooOld,
    UntrustedSigner,
    WrongArchitecture,
    WrongChannel,
)

Run = Callable[..., tuple[int, str, str]]

VERIFY = "verify @/site --key @/key --now 2025-11-20T00:00:00Z"


@pytest.fixture
def site(run: Run, workdir: Path) -> Path:
    assert run("key new @/key")[0] == 0
    status, _, _ = run(
        "publish --channel stable --arch amd64 --version 5 --kernel @/kernel --initramfs "
        "@/initramfs --rootfs @/rootfs --key @/key --out @/site --issued 2025-11-12T08:00:00Z "
        "--expires +99y"
    )
    assert status == 0
    return workdir / "site"


def manifest(site: Path) -> Path:
    return site / "stable" / "amd64" / "manifest.json"


def entry(site: Path, data: bytes) -> Path:
    return site / "cas" / "sha256" / Digest.of(data).hex


def test_a_good_site_passes_and_names_each_thing_that_was_checked(run: Run, site: Path) -> None:
    status, out, err = run(VERIFY)
    assert (status, err) == (0, "")
    assert [line[:3] for line in out.splitlines()] == ["ok "] * 7
    assert "version 5, until 2124-11-12" in out
    assert str(entry(site, KERNEL).relative_to(site)) in out


def test_a_manifest_alone_can_be_checked(run: Run, site: Path) -> None:
    status, out, _ = run(VERIFY.replace("@/site", str(manifest(site))))
    assert (status, out.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("--now 2126-01-01T00:00:00Z", Expired),
        ("--min-version 6", TooOld),
        ("--arch arm64", WrongArchitecture),
        ("--channel nightly", WrongChannel),
    ],
)
@pytest.mark.usefixtures("site")
def test_the_check_that_failed_is_named(run: Run, words: str, refusal: type[Refusal]) -> None:
    status, out, err = run(f"{VERIFY} {words}")
    assert (status, f"[{refusal.code}]" in out) == (1, True)
    assert err.endswith("failed 1 check(s).\n")


@pytest.mark.usefixtures("site")
def test_an_untrusted_signer_is_refused(run: Run) -> None:
    words = VERIFY.replace("@/key", UNTRUSTED_KEY.keyid)
    status, out, _ = run(words)
    assert (status, UntrustedSigner.code in out) == (1, True)


def test_a_changed_manifest_is_found(run: Run, site: Path) -> None:
    manifest(site).write_bytes(manifest(site).read_bytes().replace(b'"5"', b'"6"'))
    status, out, _ = run(VERIFY)
    assert (status, BadSignature.code in out) == (1, True)


def test_a_manifest_in_the_wrong_folder_is_found(run: Run, site: Path) -> None:
    (site / "stable" / "amd64").rename(site / "stable" / "arm64")
    status, out, _ = run(VERIFY)
    assert (status, WrongArchitecture.code in out) == (1, True)


def test_artifacts_that_are_not_what_was_signed_are_found(run: Run, site: Path) -> None:
    entry(site, KERNEL).write_bytes(KERNEL[:-1] + b"?")
    entry(site, ROOTFS).unlink()
    (site / "cas" / "sha256" / "stray\n").symlink_to("/etc/passwd")
    status, out, err = run(VERIFY)
    assert status == 1
    assert "kernel does not have the signed hash" in out
    assert f"has the sha256 {Digest.of(KERNEL[:-1] + b'?').hex}" in out
    assert "rootfs is missing" in out
    assert "stray\\n: is not a plain file" in out
    assert "failed 4 check(s)" in err


def test_a_folder_without_a_manifest_is_no_site(run: Run, workdir: Path) -> None:
    status, out, _ = run(f"verify {workdir} --key {UNTRUSTED_KEY.keyid}")
    assert (status, "has no" in out) == (1, True)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (f"verify @/missing --key {UNTRUSTED_KEY.keyid}", 1),
        ("verify @/site --key @/missing", 1),
        ("verify @/site --key ed25519:zz", 2),
        (f"verify @/site --key {UNTRUSTED_KEY.keyid} --threshold 0", 2),
        (f"verify @/site --key {UNTRUSTED_KEY.keyid} --threshold 2", 2),
        (f"verify @/site --key {UNTRUSTED_KEY.keyid} --now yesterday", 2),
    ],
)
def test_check_errors_are_one_sentence(run: Run, words: str, status: int) -> None:
    found, out, err = run(words)
    assert (found, out, err.count("\n")) == (status, "", 1)


def test_checking_without_a_key_is_no_checking(run: Run, site: Path) -> None:
    status, out, err = run(f"verify {site}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "Name trusted keys with --key" in err
