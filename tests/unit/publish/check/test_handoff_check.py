"""`publish` and `verify` report what the hand-over would refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill import sample_manifest as manifests
from phase_boot.drill.sample_manifest import KERNEL, PUBLISHER, ROOTFS
from phase_boot.publish.check.handoff_check import handoff_fault, handoff_warnings
from phase_boot.trust.manifest import Manifest

Run = Callable[..., tuple[int, str, str]]
PUBLISH = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --out @/site --issued 2025-11-12T08:00:00Z --expires +99y --version 1"
)
GIB = 1024**3
OPEN = 'quiet dyndbg="file a.c +p'


def with_sizes(**sizes: int) -> Manifest:
    small = {"kernel": 1, "initramfs": 1, "rootfs": 1}
    return Manifest.of(manifests.document(sizes=small | sizes))


@pytest.mark.parametrize("how", ["--key @/key", "--unsigned"])
def test_an_open_quote_is_not_published(how: str, run: Run, workdir: Path) -> None:
    run("key new @/key")
    status, _, err = run(f"{PUBLISH} {how}", "--cmdline", OPEN)
    assert status == 1
    assert 'an unclosed `"`' in err
    assert not (workdir / "site" / "stable").exists()
    assert not list((workdir / "site").rglob("cas/sha256/*"))


@pytest.mark.parametrize("how", ["--key @/key", "--unsigned"])
def test_a_version_that_private_would_refuse_is_published_with_a_warning(
    how: str, run: Run, workdir: Path
) -> None:
    run("key new @/key")
    status, _, err = run(f"{PUBLISH} {how}", "--cmdline", "crashkernel=96M phase.mode=local")
    assert status == 0
    assert "No machine in Private mode can boot this: its command line has" in err
    assert "`crashkernel=96M`" in err
    assert "`phase.mode=local` is left out" in err
    assert (workdir / "site" / "stable").exists()


def test_a_draft_with_an_open_quote_is_not_published_once_it_is_signed(
    run: Run, workdir: Path
) -> None:
    draft = workdir / "draft.json"
    draft.write_bytes(manifests.signed(manifests.document(cmdline=OPEN)))
    status, _, err = run(f"publish --signed {draft} --out @/site --force")
    assert status == 1
    assert "unclosed" in err


def test_verify_applies_the_same_rules(run: Run, workdir: Path) -> None:
    path = workdir / "manifest.json"
    words = f"verify {path} --key {PUBLISHER.keyid} --now 2025-11-20T00:00:00Z"
    path.write_bytes(manifests.signed(manifests.document(cmdline="mem=384M")))
    status, out, _ = run(words)
    assert status == 0
    assert "warning: No machine in Private mode can boot this" in out
    path.write_bytes(manifests.signed(manifests.document(cmdline=OPEN)))
    status, out, _ = run(words)
    assert status == 1
    assert "BAD" in out
    assert "unclosed" in out
    path.write_bytes(manifests.signed(manifests.document(cmdline="quiet -- quiet")))
    assert run(words)[1].count("\n") == 1


def test_a_rootfs_that_needs_cache_is_warned_of() -> None:
    manifest = with_sizes(rootfs=4 * GIB)
    (sentence,) = handoff_warnings(manifest)
    assert "Only machines with the rootfs on Cache can boot this" in sentence
    assert handoff_fault(manifest) is None
    assert list(handoff_warnings(with_sizes(rootfs=3 * GIB))) == []
    both = with_sizes(rootfs=2 * GIB, initramfs=2 * GIB)
    assert len(list(handoff_warnings(both))) == 1


def test_an_initramfs_that_no_kernel_can_be_given_is_a_fault() -> None:
    manifest = with_sizes(initramfs=4 * GIB)
    assert "its initramfs of 4.0 GiB is too large" in (handoff_fault(manifest) or "")
    assert list(handoff_warnings(manifest)) == []


@pytest.mark.parametrize("end", [b"", b"\0", b"\0\0\0"])
def test_an_initramfs_that_ends_in_a_boot_configuration_is_not_published(
    end: bytes, run: Run, workdir: Path
) -> None:
    run("key new @/key")
    (workdir / "initramfs").write_bytes(b"070701...kernel.quiet\0#BOOTCONFIG\n" + end)
    status, _, err = run(f"{PUBLISH} --key @/key")
    assert status == 1
    assert "ends in a boot configuration (bootconfig), behind which a kernel finds nothing" in err
    assert not (workdir / "site" / "stable").exists()


def test_verify_finds_a_boot_configuration_at_the_end_of_a_published_initramfs(
    run: Run, workdir: Path
) -> None:
    raw = b"070701...#BOOTCONFIG\n"
    files = {"kernel": KERNEL, "initramfs": raw, "rootfs": ROOTFS}
    body = manifests.document(
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
    )
    place = workdir / "site" / "stable" / "amd64" / "manifest.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(manifests.signed(body))
    store = workdir / "site" / "cas" / "sha256"
    store.mkdir(parents=True)
    for data in files.values():
        (store / Digest.of(data).hex).write_bytes(data)
    status, out, _ = run(f"verify @/site --key {PUBLISHER.keyid} --now 2025-11-20T00:00:00Z")
    assert status == 1
    assert out.count("BAD") == 1
    assert "boot configuration" in out
