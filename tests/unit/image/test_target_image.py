"""When the example target is published again."""

from datetime import UTC, datetime, timedelta

import pytest

from image.steps.kernel import UnsupportedKernelFormat, check_uncompressed
from image.target_image import is_current, version_of
from phase_boot.content.arch import Arch
from phase_boot.content.version import Version

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
SUMS = {"kernel": "sha256:00", "initramfs": "sha256:11", "rootfs": "sha256:22"}
WANTS = {"artifacts": SUMS}
JOBS = [{"name": "hello"}]


def manifest(**changes: object) -> dict[str, object]:
    expires = (NOW + timedelta(days=90)).isoformat()
    signed = {"artifacts": SUMS, "expires": expires, "signatures": [{"keyid": "ed25519:aa"}]}
    return signed | changes


def test_the_same_files_by_the_same_key_stay_published() -> None:
    assert is_current(manifest(), WANTS, "ed25519:aa", NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"artifacts": SUMS | {"rootfs": "sha256:33"}},
        {"signatures": [{"keyid": "ed25519:bb"}]},
        {"expires": (NOW + timedelta(days=6)).isoformat()},
        {"jobs": JOBS},
    ],
    ids=["changed files", "other key", "expires soon", "a job"],
)
def test_any_other_change_is_published_again(changes: dict[str, object]) -> None:
    assert not is_current(manifest(**changes), WANTS, "ed25519:aa", NOW)


def test_the_same_jobs_stay_published() -> None:
    assert is_current(manifest(jobs=JOBS), WANTS | {"jobs": JOBS}, "ed25519:aa", NOW)


def test_an_empty_site_is_not_current() -> None:
    assert not is_current({}, WANTS, "ed25519:aa", NOW)


def test_later_versions_are_higher() -> None:
    times = [NOW, NOW + timedelta(seconds=1), NOW + timedelta(hours=15), NOW + timedelta(days=10)]
    versions = [Version.parse(version_of(time)) for time in times]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize(
    "image", [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"MZ\0\0zimg"], ids=["gzip", "zstd", "zboot"]
)
def test_a_compressed_arm64_kernel_is_refused_by_name(image: bytes) -> None:
    with pytest.raises(UnsupportedKernelFormat, match="arm64 kernel is"):
        check_uncompressed(image, Arch.ARM64)


def test_a_plain_image_and_a_bzimage_are_accepted() -> None:
    check_uncompressed(b"MZ@\xfa" + bytes(60), Arch.ARM64)
    check_uncompressed(b"MZ\0\0" + bytes(60), Arch.AMD64)
