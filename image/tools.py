"""Every external program of the builder, named once, with the Debian package that brings it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Final

from image.errors import BuildError


class Tool(Enum):
    """A program, and the package of Debian and Ubuntu that it comes from."""

    MMDEBSTRAP = ("mmdebstrap", "mmdebstrap")
    TAR = ("tar", "tar")
    DEPMOD = ("depmod", "kmod")
    ZSTD = ("zstd", "zstd")
    DPKG_DEB = ("dpkg-deb", "")  # every Debian and Ubuntu has it
    MKSQUASHFS = ("mksquashfs", "squashfs-tools")
    MKFS_FAT = ("mkfs.fat", "dosfstools")
    MCOPY = ("mcopy", "mtools")
    MMD = ("mmd", "mtools")
    MKE2FS = ("mke2fs", "e2fsprogs")
    DEBUGFS = ("debugfs", "e2fsprogs")
    SFDISK = ("sfdisk", "fdisk")
    STRIP = ("llvm-strip", "llvm")
    UV = ("uv", "")  # installed by the Makefile; no Debian 12 package has it

    def __init__(self, program: str, package: str) -> None:
        self.program = program
        self.package = package


ALSO: Final = (
    "debian-archive-keyring",  # mmdebstrap checks the archive's signatures by it
    "uidmap",  # mmdebstrap needs it where it does not run as root
)
EPOCH: Final = 1_793_491_200
"""The time stamp of every file in an image, in seconds: 2026-11-01T00:00:00Z.

SOURCE_DATE_EPOCH overrides it. The seed's clock starts no earlier than this.
"""


class MissingTool(BuildError):
    """A program that is not installed; the text names the package to install."""


def packages() -> tuple[str, ...]:
    """Return the apt packages that a build needs."""
    return tuple(sorted({tool.package for tool in Tool if tool.package} | set(ALSO)))


def epoch() -> int:
    """Return the time stamp that this build gives to every file, in seconds."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))


def find(tool: Tool) -> Path:
    """Return the path of ``tool``; /usr/sbin is searched too, because users have it in no PATH.

    Raises:
        MissingTool: It is not installed.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = shutil.which(tool.program, path=path)
    if found is None:
        raise MissingTool(f"{tool.program} is missing; install it: apt install {tool.package}")
    return Path(found)


def run(tool: Tool, *arguments: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Run ``tool`` and wait for it; its output is shown only if it fails.

    Raises:
        MissingTool: As `find`.
        subprocess.CalledProcessError: It failed; its output is in the error's notes.
    """
    command = [str(find(tool)), *map(str, arguments)]
    run_command(command, env=env)


def run_command(command: list[str], env: Mapping[str, str] | None = None) -> None:
    """Run a program that an earlier step built; as `run`."""
    done = subprocess.run(
        command,
        env=environment() | dict(env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, command)
        error.add_note(done.stdout.decode(errors="replace")[-4000:])
        raise error


def environment() -> dict[str, str]:
    """Return the environment of every program: this one's, with time, zone and language fixed."""
    fixed = {"SOURCE_DATE_EPOCH": str(epoch()), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    return dict(os.environ) | fixed
