"""Inputs of `make bench-update`: three versions of a Debian root file system, built once.

The second version updates two packages of the first, as a security update does. The third also has
another kernel. The older packages come from the archive, which keeps them beside the newest.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from image.errors import BuildError
from image.steps.packages import LEFT_OUT
from image.tools import Tool, run

NAMES: Final = ("base", "security", "kernel")
UPDATED: Final = ("libssl3t64", "openssl")
OPTIONS: Final = ("-comp", "zstd", "-Xcompression-level", "9", "-b", "64K", "-no-fragments")
"""The target's options with faster compression, which hardly changes what two versions share."""
_PACKAGES: Final = (
    *("linux-image-amd64", "systemd", "systemd-sysv", "dbus", "sudo", "tzdata", "ca-certificates"),
    *("openssh-server", "openssh-client", "openssl", "curl", "network-manager", "iproute2"),
    *("nftables", "wireguard-tools", "podman", "nginx-light", "nmap", "tcpdump", "rsync"),
    *("python3", "python3-cryptography", "python3-requests", "perl", "git", "vim", "make"),
    *("gdb", "strace", "tmux", "htop", "xserver-xorg-core"),
)
_HOOK: Final = r"""set -e
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
    """Return the three squashfs files by name; the first call builds them.

    Raises:
        BuildError: the archive no longer has two versions of the packages.
    """
    made = {name: folder / f"{name}.sqfs" for name in NAMES}
    if not all(path.is_file() for path in made.values()):
        folder.mkdir(parents=True, exist_ok=True)
        _make(folder, made)
    return made


def _make(folder: Path, made: dict[str, Path]) -> None:
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
    hook = folder / "hook.sh"
    script = _HOOK.replace("UPDATED", " ".join(UPDATED)).replace("OUT/", f"{debs.absolute()}/")
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
    run(Tool.MKSQUASHFS, tree, out, *OPTIONS, "-all-root", "-no-xattrs", "-noappend", "-quiet")
