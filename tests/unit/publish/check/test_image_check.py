"""Images that no machine can boot are refused before signing, and named."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.drill.sample_kernel import bzimage
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS
from phase_boot.handoff.artifact_check import NotBootable, file_system_of, initramfs_of
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.publish.errors import PublishError
from phase_boot.publish.site import open_site
from tests.support.kernels import arm64_image, gzipped, uki

Run = Callable[..., tuple[int, str, str]]
PUBLISH = (
    "publish --channel stable --version 1 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --out @/site --expires +30d"
)
MICROCODE = archive([Entry.file("kernel/x86/microcode/AuthenticAMD.bin", b"\x01" * 99)])


def reads(data: bytes) -> Callable[[int, int], bytes]:
    return lambda size, at: data[at : at + size]


@pytest.mark.parametrize(
    ("data", "packings"),
    [
        (INITRAMFS, ("cpio",)),
        (bytes(512) + INITRAMFS + bytes(64), ("cpio",)),
        (gzip.compress(INITRAMFS), ("gzip",)),
        (bz2.compress(INITRAMFS), ("bzip2",)),
        (lzma.compress(INITRAMFS), ("xz",)),
        (lzma.compress(INITRAMFS, lzma.FORMAT_ALONE), ("lzma",)),
        (b"\x28\xb5\x2f\xfd....", ("zstd",)),
        (b"\x02\x21\x4c\x18....", ("lz4",)),
        (b"\x89LZO....", ("lzo",)),
        (MICROCODE + bytes(300) + gzip.compress(INITRAMFS), ("cpio", "gzip")),
    ],
    ids=[*"abcdefghij"],
)
def test_an_initramfs_is_identified_by_the_formats_that_linux_unpacks(
    data: bytes, packings: tuple[str, ...]
) -> None:
    assert initramfs_of(reads(data), len(data)).packings == packings


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (bytes(9), "is no cpio archive"),
        (b"junk" * 9, "something else"),
        (KERNEL, "is a bzImage for amd64"),
        (b"\x7fELF" + bytes(99), "an ELF file"),
        (b"hsqs" + bytes(99), "a squashfs"),
        (b"\x04\x22\x4d\x18....", "lz4 -l"),
        (INITRAMFS[:120], "breaks off"),
        (INITRAMFS[:54] + b"zzzzzzzz" + INITRAMFS[62:], "broken header"),
        (MICROCODE + b"junk", "something else"),
    ],
    ids=[*"abcdefghij"],
)
def test_an_invalid_initramfs_is_named(data: bytes, why: str) -> None:
    with pytest.raises(NotBootable, match="its initramfs") as caught:
        initramfs_of(reads(data), len(data))
    assert why in str(caught.value)


def test_a_file_system_is_identified_by_its_super_block() -> None:
    assert file_system_of(reads(ROOTFS)) == "squashfs"
    assert file_system_of(reads(bytes(1080) + b"\x53\xef")) == "ext4"
    assert file_system_of(reads(bytes(1024) + b"\xe2\xe1\xf5\xe0")) == "erofs"
    assert file_system_of(reads(b"junk" * 999)) is None


FAULTS: dict[str, tuple[str, dict[str, bytes], str]] = {
    "swapped": ("amd64", {"kernel": INITRAMFS, "initramfs": KERNEL}, "are swapped"),
    "elf": ("amd64", {"kernel": b"\x7fELF" + bytes(999)}, "an ELF file (vmlinux)"),
    "junk": ("amd64", {"kernel": b"junk" * 999}, "its kernel is no kernel at all"),
    "amd64 as arm64": ("arm64", {}, "its kernel is a bzImage for amd64, and this machine is arm64"),
    "arm64 as amd64": ("amd64", {"kernel": arm64_image()}, "a Linux Image for arm64"),
    "packed kernel that breaks off": (
        "arm64",
        {"kernel": gzipped(arm64_image() + os.urandom(9999))[:-200]},
        "the packed kernel breaks off",
    ),
    "no initramfs": ("amd64", {"initramfs": b"junk" * 99}, "its initramfs is no cpio archive"),
    "empty kernel": ("amd64", {"kernel": b""}, "is empty"),
    "empty initramfs": ("amd64", {"initramfs": b""}, "is empty"),
    "empty rootfs": ("amd64", {"rootfs": b""}, "is empty"),
    "kernel without initrd": (
        "amd64",
        {"config": b"CONFIG_X86_64=y\n# CONFIG_BLK_DEV_INITRD is not set\n"},
        "its kernel lacks CONFIG_BLK_DEV_INITRD",
    ),
    "kernel without gzip": (
        "amd64",
        {
            "initramfs": gzip.compress(INITRAMFS),
            "config": b"CONFIG_X86_64=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_XZ=y\n",
        },
        "its kernel lacks CONFIG_RD_GZIP",
    ),
    "uki of another machine": (
        "amd64",
        {"uki": uki(0xAA64)},
        "not a unified kernel image for amd64",
    ),
}


@pytest.fixture(params=sorted(FAULTS))
def broken(request: pytest.FixtureRequest, workdir: Path) -> tuple[str, str]:
    """Write the files of a fault; return the arguments that publish them, and the message."""
    arch, files, why = FAULTS[request.param]
    for name, data in files.items():
        (workdir / name).write_bytes(data)
    return f"{PUBLISH} --arch {arch}{' --uki @/uki' if 'uki' in files else ''}", why


@pytest.mark.parametrize("by", ["--key @/key", "--unsigned"])
def test_an_image_that_no_machine_can_boot_is_refused_before_signing(
    run: Run, workdir: Path, broken: tuple[str, str], by: str
) -> None:
    run("key new @/key")
    words, why = broken
    status, out, err = run(f"{words} {by}")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert why in err
    assert list((workdir / "site").rglob("*.json")) == []
    assert not (workdir / "site/cas").exists()


def test_the_checks_are_skipped_by_name_only_and_warn_then(run: Run, workdir: Path) -> None:
    run("key new @/key")
    (workdir / "kernel").write_bytes(b"\x7fELF" + bytes(999))
    words = f"{PUBLISH} --arch amd64 --key @/key"
    assert run(f"{words} --force")[0] == 1
    status, _, err = run(f"{words} --skip-image-checks")
    assert status == 0
    assert "an ELF file (vmlinux)" in err


def test_a_site_with_a_kernel_that_no_machine_boots_fails_its_check(
    run: Run, workdir: Path
) -> None:
    keyid = run("key new @/key")[1].strip()
    (workdir / "kernel").write_bytes(b"\x7fELF" + bytes(999))
    assert run(f"{PUBLISH} --arch amd64 --key @/key --skip-image-checks")[0] == 0
    status, out, _ = run(f"verify @/site --key {keyid}")
    assert status == 1
    assert "BAD stable/amd64/manifest.json: No machine for amd64 could boot this" in out


def test_the_signer_checks_the_files_of_a_draft_if_they_are_present(
    run: Run, workdir: Path
) -> None:
    run("key new @/key")
    (workdir / "kernel").write_bytes(b"\x7fELF" + bytes(999))
    draft = "site/stable/amd64/manifest.unsigned.json"
    assert run(f"{PUBLISH} --arch amd64 --unsigned --skip-image-checks")[0] == 0
    status, _, err = run(f"sign @/{draft} --key @/key")
    assert status == 1
    assert "an ELF file (vmlinux)" in err
    (workdir / "draft.json").write_bytes((workdir / draft).read_bytes())
    status, _, err = run("sign @/draft.json --key @/key")
    assert status == 0
    assert "the image checks are skipped" in err


DOUBTS: dict[str, tuple[dict[str, bytes], str]] = {
    "no configuration": ({"config": b"nothing"}, "is not for amd64"),
    "rootfs of no kind": ({"rootfs": b"junk" * 999}, "an unknown file system"),
    "no squashfs": (
        {"config": b"CONFIG_X86_64=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_OVERLAY_FS=m\n"},
        "CONFIG_SQUASHFS is not set",
    ),
    "forced command line": (
        {"config": b"CONFIG_X86_64=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_CMDLINE_OVERRIDE=y\n"},
        "ignores its command line",
    ),
    "no stub": ({"kernel": bzimage(stub=False)}, "no EFI stub"),
    "no signature": ({"uki": uki()}, "the uki is not signed"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_an_image_that_only_some_machines_boot_is_published_with_a_warning(
    run: Run, workdir: Path, name: str
) -> None:
    files, why = DOUBTS[name]
    for file, data in files.items():
        (workdir / file).write_bytes(data)
    run("key new @/key")
    more = " --uki @/uki" if "uki" in files else ""
    status, _, err = run(f"{PUBLISH} --arch amd64 --key @/key{more}")
    assert status == 0
    assert why in err or why.capitalize() in err or why[4:] in err


def test_the_configuration_within_a_kernel_is_found(run: Run, workdir: Path) -> None:
    (workdir / "config").unlink()
    run("key new @/key")
    assert "configuration is not available" in run(f"{PUBLISH} --arch amd64 --unsigned")[2]
    config = b"CONFIG_ARM64=y\n# CONFIG_BLK_DEV_INITRD is not set\n"
    within = b"IKCFG_ST" + gzip.compress(config) + b"IKCFG_ED"
    image = arm64_image(os.urandom(2_000_000) + within + os.urandom(5000), size=1 << 24)
    for kernel in (image, gzipped(image)):
        (workdir / "kernel").write_bytes(kernel)
        status, _, err = run(f"{PUBLISH} --arch arm64 --key @/key")
        assert status == 1
        assert "lacks CONFIG_BLK_DEV_INITRD" in err


def test_a_file_that_changes_while_it_is_read_is_not_published(tmp_path: Path) -> None:
    source, ended = tmp_path / "rootfs", threading.Event()
    with source.open("wb") as file:
        file.truncate(64 << 20)

    def write_on() -> None:
        while not ended.is_set():
            with source.open("r+b") as writer:
                writer.write(os.urandom(9))

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        with (
            open_site(tmp_path / "site") as site,
            pytest.raises(PublishError, match="changed while it was read"),
        ):
            site.stage("rootfs", source)
    finally:
        ended.set()
        writing.join()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--issued 2999-01-01T00:00:00Z --expires +30d", "ahead of this machine's clock"),
        ("--issued 2020-01-01T00:00:00Z --expires +30d", "is past by this machine's clock"),
        ("--expires 2020-01-01T00:00:00Z", "not later than issued"),
    ],
)
def test_dates_at_which_no_machine_takes_a_version_are_refused(
    run: Run, workdir: Path, words: str, why: str
) -> None:
    run("key new @/key")
    publish = PUBLISH.replace("--expires +30d", words)
    status, out, err = run(f"{publish} --arch amd64 --key @/key")
    assert (status, out) == (1, "")
    assert why in err
    assert not (workdir / "site/stable").exists()
