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
CommandResult = tuple[int, str, str]
"""Exit status, standard output, standard error."""


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Return a publisher's folder with three files to publish."""
    for name, data in (("kernel", KERNEL), ("initramfs", INITRAMFS), ("rootfs", ROOTFS)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "config").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """Run `phase-boot` with words in which `@` is the publisher's folder."""

    def run_command(words: str, *more: str) -> CommandResult:
        status = main([*words.replace("@", str(workdir)).split(), *more])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run_command


@pytest.fixture
def keyid(run: Callable[..., CommandResult]) -> str:
    status, out, _ = run("key new @/key")
    assert status == 0
    return out.strip()
