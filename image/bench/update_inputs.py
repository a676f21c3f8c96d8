"""Inputs of `make bench-update`: three versions of one Debian root file system, as squashfs images.

The benchmark measures how many bytes a machine with one version downloads for the next. `security`
updates two packages of `base`; `kernel` replaces the kernel of `security` as well. Packages are
extracted, not installed: what their scripts would change is small beside the packages. Both
versions of a package come from Debian 13's archive, which keeps superseded security updates for a
while, so runs of different dates may compare different packages.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from image.errors import BuildError
from image.steps.packages import LEFT_OUT
from image.tools import Tool, run

IMAGE_NAMES: Final = ("base", "security", "kernel")
UPDATED: Final = ("libssl3t64", "openssl")
"""Packages of Debian 13 that `security` updates."""
MKSQUASHFS_OPTIONS: Final = (
    "-comp",
    "zstd",
    "-Xcompression-level",
    "9",
    "-b",
    "64K",
    "-no-fragments",
)
"""The options of a published target, with a lower zstd level, which saves minutes."""
_PACKAGES: Final = (
    *("linux-image-amd64", "systemd", "systemd-sysv", "dbus", "sudo", "tzdata", "ca-certificates"),
    *("openssh-server", "openssh-client", "openssl", "curl", "network-manager", "iproute2"),
    *("nftables", "wireguard-tools", "podman", "nginx-light", "nmap", "tcpdump", "rsync"),
    *("python3", "python3-cryptography", "python3-requests", "perl", "git", "vim", "make"),
    *("gdb", "strace", "tmux", "htop", "xserver-xorg-core"),
)
_DOWNLOAD_HOOK: Final = r"""set -e
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
mkdir -m 777 "$1/debs"; cd "$1/debs"
versions() { apt-cache madison "$1" | grep Packages | cut -d'|' -f2 | tr -d ' ' | sort -uV; }
mkdir old new
for name in UPDATED; do
    apt-get download "$name=$(versions "$name" | head -n 1)" && mv ./*.deb old
    apt-get download "$name=$(versions "$name" | tail -n 1)" && mv ./*.deb new
done
current=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p')
other=$(apt-cache search --names-only '^linux-image-[0-9].*-amd64$' | cut -d' ' -f1 |
    grep -vx "$current" | grep -v -e cloud -e rt | sort -V | tail -n 1)
apt-get download "$other" && mkdir kernel && mv ./*.deb kernel
cp -a old new kernel OUT/
"""


def root_images(folder: Path) -> dict[str, Path]:
    """Return the paths of the three images by `IMAGE_NAMES`; build those that ``folder`` lacks.

    Building takes minutes and reads the Debian archive. A change of this module does not rebuild.

    Raises:
        BuildError: the archive has one version of the packages in `UPDATED`, or a tool failed.
    """
    made = {name: folder / f"{name}.sqfs" for name in IMAGE_NAMES}
    if not all(path.is_file() for path in made.values()):
        folder.mkdir(parents=True, exist_ok=True)
        _build_images(folder, made)
    return made


def _build_images(folder: Path, made: dict[str, Path]) -> None:
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    debs = folder / "debs"
    shutil.rmtree(debs, ignore_errors=True)
    debs.mkdir(mode=0o777)
    _extract(folder, tree, debs)
    old_packages, new_packages = (sorted((debs / age).glob("*.deb")) for age in ("old", "new"))
    if [path.name for path in old_packages] == [path.name for path in new_packages]:
        raise BuildError(
            f"The archive has only one version of {UPDATED}; choose other packages for UPDATED."
        )
    _pack(tree, old_packages, made["base"])
    _pack(tree, new_packages, made["security"])
    for path in (*tree.glob("boot/*-amd64"), *tree.glob("usr/lib/modules/*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _pack(tree, sorted((debs / "kernel").glob("*.deb")), made["kernel"])
    shutil.rmtree(tree)


def _extract(folder: Path, tree: Path, debs: Path) -> None:
    """Extract the base packages to ``tree``, and download the others to ``debs``."""
    hook = folder / "hook.sh"
    script = _DOWNLOAD_HOOK.replace("UPDATED", " ".join(UPDATED)).replace(
        "OUT/", f"{debs.absolute()}/"
    )
    hook.write_text(script)
    archive = folder / "base.tar"
    run(
        Tool.MMDEBSTRAP,
        *("--variant=extract", "--architectures=amd64", "--format=tar"),
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        f"--include={','.join(_PACKAGES)}",
        f'--extract-hook=sh {hook.absolute()} "$1"',
        *("trixie", archive),
    )
    tree.mkdir()
    run(Tool.TAR, "-x", "--no-same-owner", "--exclude=./dev", "-f", archive, "-C", tree)
    shutil.rmtree(tree / "debs", ignore_errors=True)
    archive.unlink()


def _pack(tree: Path, packages: list[Path], out: Path) -> None:
    """Extract packages over the tree, then pack it as squashfs."""
    for package in packages:
        run(Tool.DPKG_DEB, "-x", package, tree)
    run(
        Tool.MKSQUASHFS,
        tree,
        out,
        *MKSQUASHFS_OPTIONS,
        "-all-root",
        "-no-xattrs",
        "-noappend",
        "-quiet",
    )
