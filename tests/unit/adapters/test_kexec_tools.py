"""Loading by kexec-tools: which descriptors it gets, and what is said when it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.adapters.kexec_tools import KexecTools
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.handoff.initrd import Initrd
from phase_boot.machine.errors import KexecRefused
from phase_boot.store.cas import Cas, Fetched
from phase_boot.store.digest import Digest
from phase_boot.trust.manifest import Artifact
from tests.fakes.archives import unpacked

KERNEL, INITRAMFS, ROOTFS = b"MZ kernel", b"initramfs!" * 3 + b"x", b"rootfs" * 5000


def stored(name: str, data: bytes) -> Fetched:
    cas = Cas(MemoryDisk(), bound=1 << 20)
    artifact = Artifact(name, Digest.of(data), len(data))
    with cas.writer(artifact) as writer:
        writer.write(data)
        writer.commit()
    return cas.open(artifact)


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


COPY = """
echo "$*" >> calls
for word in "$@"; do case $word in
  --initrd=*) cat "${word#--initrd=}" > initrd; : 2>/dev/null >> "${word#--initrd=}" && echo bad ;;
  /proc/self/fd/*) cat "$word" > kernel ;;
esac; done
"""


async def test_the_descriptors_that_were_hashed_are_the_ones_loaded(tmp_path: Path) -> None:
    tools = KexecTools(program(tmp_path, COPY))
    kernel = stored("kernel", KERNEL)
    method = await tools.load(kernel, initrd(appended=False), "quiet phase.mode=local")
    assert method == "kexec_file_load"
    assert (tmp_path / "kernel").read_bytes() == KERNEL
    data = (tmp_path / "initrd").read_bytes()
    assert data.startswith(INITRAMFS)
    padded = len(INITRAMFS) + -len(INITRAMFS) % 4
    assert unpacked(data[padded:]) == {"phase": b"", "phase/handoff.json": b"{}"}
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert f"/proc/self/fd/{kernel.fileno()}" in call
    assert "--command-line=quiet phase.mode=local" in call


async def test_an_appended_rootfs_is_a_file_of_the_archive(tmp_path: Path) -> None:
    tools = KexecTools(program(tmp_path, COPY))
    whole = initrd(appended=True)
    await tools.load(stored("kernel", KERNEL), whole, "")
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
    with pytest.raises(KexecRefused):
        await KexecTools(program(tmp_path, script)).load(
            stored("kernel", KERNEL), initrd(appended=False), ""
        )


async def test_a_kernel_without_the_file_call_takes_the_other_one(tmp_path: Path) -> None:
    script = COPY + 'case "$1" in --kexec-file-syscall) echo ENOSYS >&2; exit 255;; esac\n'
    tools = KexecTools(program(tmp_path, script))
    assert await tools.load(stored("kernel", KERNEL), initrd(appended=False), "") == "kexec_load"


async def test_a_refusal_names_both_calls_and_what_they_said(tmp_path: Path) -> None:
    tools = KexecTools(program(tmp_path, 'echo "Operation not permitted" >&2; exit 1'))
    with pytest.raises(KexecRefused) as caught:
        await tools.load(stored("kernel", KERNEL), initrd(appended=False), "")
    assert "kexec_file_load: Operation not permitted" in str(caught.value)
    assert "kexec_load: Operation not permitted" in str(caught.value)


async def test_a_jump_that_returns_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KexecRefused, match="the jump"):
        await KexecTools(program(tmp_path, "exit 0")).jump()


async def test_kexec_tools_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(KexecRefused, match="cannot be run"):
        await KexecTools(str(tmp_path / "none")).jump()
