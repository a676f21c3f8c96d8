from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS

CONFIG = "".join(
    f"CONFIG_{name}=y\n"
    for name in ("X86_64", "BLK_DEV_INITRD", "RD_GZIP", "SQUASHFS", "OVERLAY_FS")
)
"""The configuration of the kernel that is published."""
Told = tuple[int, str, str]
"""Exit status, standard output, standard error."""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return a publisher's folder with three files to publish."""
    for name, data in (("kernel", KERNEL), ("initramfs", INITRAMFS), ("rootfs", ROOTFS)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "config").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(desk: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run `phase-boot` with words in which `@` is the publisher's folder."""

    def told(words: str, *more: str) -> Told:
        status = main([*words.replace("@", str(desk)).split(), *more])
        output = capsys.readouterr()
        return status, output.out, output.err

    return told


@pytest.fixture
def keyid(run: Callable[..., Told]) -> str:
    status, out, _ = run("key new @/key")
    assert status == 0
    return out.strip()
