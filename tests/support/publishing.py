"""Publish by the command, and read the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
PUBLISH = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --key @/key --out @/site --issued 2025-11-12T08:00:00Z --expires +99y"
)


def manifest(workdir: Path) -> Path:
    return workdir / "site" / "stable" / "amd64" / "manifest.json"


def entries(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "site" / "cas" / "sha256").iterdir()}
