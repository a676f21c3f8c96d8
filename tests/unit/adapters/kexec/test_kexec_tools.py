"""Loading by kexec-tools: which descriptors it gets, and its error messages."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.adapters.kexec.kexec_tools import KexecTools, refusal
from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import HEAD, inspect
from phase_boot.machine.errors import KexecRefused
from phase_boot.ports.kexec import LoadRefused, Method
from phase_boot.store.content_store import ContentStore, VerifiedFile
from tests.support.archives import unpacked
from tests.support.kernels import arm64_image, gzipped, zboot

Packer = Callable[[bytes], bytes]
KERNEL, INITRAMFS, ROOTFS = bzimage(), b"initramfs!" * 3 + b"x", b"rootfs" * 5000


def stored(name: str, data: bytes) -> VerifiedFile:
    cas = ContentStore(MemoryDisk(), bound=1 << 20)
    artifact = Artifact(name, Digest.of(data), len(data))
    with cas.stream_writer(artifact) as writer:
        writer.write(data)
        writer.commit()
    return cas.open(artifact)


def change(image: VerifiedFile) -> None:
    """Let the disk hold another byte than the one that was hashed."""
    fd = os.open(f"/proc/self/fd/{image.fileno()}", os.O_RDWR)
    os.pwrite(fd, b"!", image.artifact.size // 2)
    os.close(fd)


def program(folder: Path, script: str) -> str:
    path = folder / "kexec"
    path.write_text(f"#!/bin/sh\ncd {folder}\n{script}")
    path.chmod(0o755)
    return str(path)


def initrd(*, appended: bool) -> Initrd:
    return Initrd(
        initramfs=stored("initramfs", INITRAMFS),
        document=b"{}",
        rootfs=stored("rootfs", ROOTFS) if appended else None,
    )


async def load(  # noqa: PLR0913 - one thing each, most by keyword
    script_folder: Path,
    script: str,
    whole: Initrd,
    *,
    kernel: bytes = KERNEL,
    cmdline: str = "",
    method: Method = Method.FILE,
) -> VerifiedFile:
    tools = KexecTools(program(script_folder, script))
    image = stored("kernel", kernel)
    await tools.load(image, inspect(image.read(HEAD)), whole, cmdline, method)
    return image


COPY = """
echo "$*" >> calls
for word in "$@"; do case $word in
  --initrd=*) cat "${word#--initrd=}" > initrd; : 2>/dev/null >> "${word#--initrd=}" && echo bad ;;
  /proc/self/fd/*) cat "$word" > kernel ;;
esac; done
"""


async def test_the_loaded_bytes_are_hashed_as_they_are_read(tmp_path: Path) -> None:
    await load(tmp_path, COPY, initrd(appended=False), cmdline="quiet phase.mode=local")
    assert (tmp_path / "kernel").read_bytes() == KERNEL
    data = (tmp_path / "initrd").read_bytes()
    assert data.startswith(INITRAMFS)
    padded = len(INITRAMFS) + -len(INITRAMFS) % 4
    assert unpacked(data[padded:]) == {"phase": b"", "phase/handoff.json": b"{}"}
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith("--kexec-file-syscall --load")
    assert "--command-line=quiet phase.mode=local" in call


@pytest.mark.parametrize("changed", ["kernel", "initramfs", "rootfs"])
async def test_a_stick_that_returns_other_bytes_on_a_second_read_starts_nothing(
    tmp_path: Path, changed: str
) -> None:
    whole, image = initrd(appended=True), stored("kernel", KERNEL)
    assert whole.rootfs is not None
    victim = {"kernel": image, "initramfs": whole.initramfs, "rootfs": whole.rootfs}[changed]
    change(victim)
    tools = KexecTools(program(tmp_path, COPY))
    with pytest.raises(LoadRefused, match=f"{changed} is no longer what was signed"):
        await tools.load(image, inspect(KERNEL[:HEAD]), whole, "", Method.FILE)
    assert not (tmp_path / "calls").exists()


async def test_an_appended_rootfs_is_a_file_of_the_archive(tmp_path: Path) -> None:
    whole = initrd(appended=True)
    await load(tmp_path, COPY, whole)
    data = (tmp_path / "initrd").read_bytes()
    assert len(data) == whole.size
    padded = len(INITRAMFS) + -len(INITRAMFS) % 4
    assert unpacked(data[padded:]) == {
        "phase": b"",
        "phase/rootfs.squashfs": ROOTFS,
        "phase/handoff.json": b"{}",
    }


async def test_the_assembled_initrd_cannot_be_changed_any_more(tmp_path: Path) -> None:
    script = (
        'for w in "$@"; do case $w in --initrd=*) echo x > "${w#--initrd=}" || exit 7;; esac; done'
    )
    with pytest.raises(LoadRefused):
        await load(tmp_path, script, initrd(appended=False))


async def test_the_other_call_is_made_alone_and_without_a_second_hash(tmp_path: Path) -> None:
    await load(tmp_path, COPY, initrd(appended=False), method=Method.SEGMENTS)
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith("--kexec-syscall --no-checks --load")


@pytest.mark.parametrize("packed", [gzipped, zboot])
async def test_a_packed_kernel_is_loaded_unpacked(tmp_path: Path, packed: Packer) -> None:
    inner = arm64_image(b"Image" * 9999)
    await load(tmp_path, COPY, initrd(appended=False), kernel=packed(inner))
    assert (tmp_path / "kernel").read_bytes() == inner


async def test_a_packed_kernel_that_breaks_off_is_never_handed_over(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(99_999)  # noqa: S311 - bytes that do not pack
    torn = gzipped(arm64_image(noise))[:-4000]
    with pytest.raises(LoadRefused, match="breaks off"):
        await load(tmp_path, COPY, initrd(appended=False), kernel=torn)
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(
    ("output", "errno", "words"),
    [
        ("kexec_load failed: Operation not permitted flags = 0x3e0000", "EPERM", "forbids"),
        ("kexec_file_load failed: Permission denied", "EACCES", "forbids"),
        ("kexec_file_load failed: No data available", "ENODATA", "not signed"),
        ("kexec_file_load failed: Required key not available", "ENOKEY", "does not know"),
        ("kexec_file_load failed: Key was rejected by service", "EKEYREJECTED", "signature"),
        ("kexec_file_load failed: Exec format error", "ENOEXEC", "format"),
        ("kexec_load failed: Invalid argument", "EINVAL", "damaged"),
        ("kexec_load failed: Device or resource busy", "EBUSY", "at the moment"),
        ("kexec_load failed: Cannot allocate memory", "ENOMEM", "memory"),
        ("kexec_load failed: Cannot assign requested address", "EADDRNOTAVAIL", "no free place"),
        ("syscall kexec_file_load not available.", "ENOSYS", "does not have this call"),
        ("Cannot determine the file type of /proc/self/fd/7", "ENOEXEC", "format"),
        ("Could not find a free area of memory of 0x1000 bytes...", "EADDRNOTAVAIL", "place"),
    ],
)
async def test_the_output_of_kexec_tools_becomes_a_message_and_an_errno(
    tmp_path: Path, output: str, errno: str, words: str
) -> None:
    with pytest.raises(LoadRefused, match=words) as caught:
        await load(tmp_path, f"echo '{output}' >&2; exit 255", initrd(appended=False))
    assert caught.value.errno == errno
    assert f"({errno})" in str(caught.value)
    assert caught.value.lasting is (errno == "EADDRNOTAVAIL")


def test_a_refusal_under_lockdown_names_it() -> None:
    error = refusal("kexec_file_load failed: Operation not permitted", lockdown="integrity")
    assert "locked down (integrity)" in str(error)
    assert error.errno == "EPERM"


async def test_an_unknown_message_is_passed_on_and_adds_no_denylist_entry(
    tmp_path: Path,
) -> None:
    with pytest.raises(LoadRefused, match="the moon is full") as caught:
        await load(tmp_path, "echo the moon is full >&2; exit 3", initrd(appended=False))
    assert caught.value.errno is None
    assert not caught.value.lasting


async def test_a_jump_that_returns_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KexecRefused, match="the jump"):
        await KexecTools(program(tmp_path, "exit 0")).jump()


async def test_kexec_tools_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(KexecRefused, match="cannot be run"):
        await KexecTools(str(tmp_path / "none")).jump()
