"""The seed's root: Debian's files, ours, the policies and the launchers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from image.file_tree import write
from image.steps import python, rootfs
from image.steps.certificates import BUNDLE
from image.steps.rootfs import RootParts
from image.tools import epoch

LAUNCHERS: Final = {"phase-boot": "main", "fetch-verify-kexec": "fetch_verify_kexec"}
LINKS: Final = {
    "cas": "cache/cas",
    "etc/policy.toml": "phase-boot/internet.toml",
    "usr/lib/systemd/system/phase-shell.service.d": "phase-boot.service.d",
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/phase-boot.target",
    "usr/bin/python3": "python3.13",
}


def build_root(parts: RootParts, policies: Mapping[str, str], authorities: str, out: Path) -> None:
    """Create the seed's root at ``out``.

    Args:
        parts: its parts.
        policies: the files of /etc/phase-boot by name (`image.trust_config.policy_files`).
        authorities: PEM certificates to add to Debian's.
        out: the folder to create.
    """
    rootfs.assemble(parts, out)
    _write_generated(out, parts, policies, authorities)
    rootfs.finish(out, ["cache"], LINKS, epoch())


def _write_generated(
    out: Path, parts: RootParts, policies: Mapping[str, str], authorities: str
) -> None:
    for name, function in LAUNCHERS.items():
        write(out / f"usr/bin/{name}", python.launcher(function), executable=True)
    for name, content in policies.items():
        write(out / "etc/phase-boot" / name, content)
    if authorities:
        bundle = (out / BUNDLE).read_text(encoding="utf-8")
        write(out / BUNDLE, bundle + authorities)
    system = rootfs.os_release("Phase Boot Seed", parts.version, parts.platform)
    write(out / "etc/os-release", system)
    write(out / "usr/lib/clock-epoch", "")
    built = datetime.fromtimestamp(epoch(), UTC).isoformat()
    write(out / "etc/phase-boot/built", built + "\n")
