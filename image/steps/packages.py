"""Download Debian packages and unpack them without running their scripts.

A package's scripts expect a running Debian; the seed needs files alone, and a build that runs no
foreign script as root is one that a reader can follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from image.file_tree import discard
from image.tools import Tool, run

LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/lintian/*",
)


def extract(suite: str, arch: str, names: Iterable[str], out: Path) -> None:
    """Unpack ``names`` and the packages that they depend on into ``out``, owned by this user."""
    archive = out.with_name(out.name + ".tar")
    run(
        Tool.MMDEBSTRAP,
        "--variant=extract",
        f"--architectures={arch}",
        "--format=tar",
        f"--include={','.join(sorted(names))}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        suite,
        archive,
    )
    out.mkdir()
    run(Tool.TAR, "-x", "--no-same-owner", "--exclude=./dev", "-f", archive, "-C", out)
    discard(archive)
