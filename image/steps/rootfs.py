"""Assemble a root file system: the part that the seed and the example target share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image import file_tree
from image.pattern_list import read_patterns
from image.platforms import Platform
from image.steps.debian_files import select_files
from image.steps.python import compile_bytecode

FOLDERS: Final = ("dev", "proc", "sys", "run", "tmp", "root", "var/log", "usr/lib/firmware")
LINKS: Final = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "var/run": "../run",
    "etc/resolv.conf": "../run/resolv.conf",
    "etc/mtab": "../proc/self/mounts",
    "etc/systemd/system/ctrl-alt-del.target": "/usr/lib/systemd/system/reboot.target",
    "usr/sbin/init": "../lib/systemd/systemd",
}
LIBRARY: Final = "usr/lib/python3.13"
SYSTEMCTL: Final = ("halt", "poweroff", "reboot")
KMOD: Final = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")


@dataclass(frozen=True, slots=True, kw_only=True)
class RootParts:
    """Parts of a root file system.

    Attributes:
        packages: the unpacked packages of Debian.
        interpreter: a root with the same Python for this machine, to compile bytecode.
        sources: folders of the repository, each with a folder `root` that is copied, and perhaps
            with lists: `files.list` of files from ``packages``, `applets.list` of busybox's.
        trees: other trees, each with the place where it goes, relative to the root.
        platform: the architecture.
        version: the version that os-release names.
    """

    packages: Path
    interpreter: Path
    sources: tuple[Path, ...]
    trees: tuple[tuple[Path, str], ...]
    platform: Platform
    version: str


def assemble(parts: RootParts, out: Path) -> None:
    """Create the root at ``out``, except what `finish` adds, and compile the standard library."""
    patterns = _lists(parts.sources, "files.list")
    users = [path for tree, _ in parts.trees for path in tree.rglob("*.so")]
    select_files(parts.packages, patterns, users, parts.platform, out)
    for tree, target in parts.trees:
        file_tree.overlay(tree, out / target)
    for folder in parts.sources:
        file_tree.copy(folder / "root", out)
    _create_links(
        out, {f"usr/bin/{name}": "busybox" for name in _lists(parts.sources, "applets.list")}
    )
    compile_bytecode(parts.interpreter, out / LIBRARY, f"/{LIBRARY}")


def finish(out: Path, folders: Sequence[str], links: Mapping[str, str], time: int) -> None:
    """Create the standard folders and links, and ``folders`` and ``links``; normalize the root."""
    for folder in (*FOLDERS, *folders):
        (out / folder).mkdir(parents=True, exist_ok=True)
    _create_links(out, _standard_links(out) | dict(links))
    file_tree.normalize(out, time)


def os_release(name: str, version: str, platform: Platform) -> str:
    """Return the content of os-release (os-release(5)) of the system ``name``."""
    fields = {
        "ID": name.lower().replace(" ", "-"),
        "ID_LIKE": "debian",
        "NAME": name,
        "PRETTY_NAME": f"{name} {version}",
        "VERSION_ID": version,
        "ARCHITECTURE": platform.arch,
    }
    return "".join(f'{key}="{value}"\n' for key, value in fields.items())


def _lists(sources: Sequence[Path], name: str) -> list[str]:
    paths = [folder / name for folder in sources]
    return [pattern for path in paths if path.exists() for pattern in read_patterns(path)]


def _standard_links(out: Path) -> dict[str, str]:
    links = LINKS | {f"usr/sbin/{name}": "../bin/systemctl" for name in SYSTEMCTL}
    links |= {f"usr/sbin/{name}": "../bin/kmod" for name in KMOD}
    if (out / "usr/lib64").exists():
        links["lib64"] = "usr/lib64"
    return links


def _create_links(out: Path, links: Mapping[str, str]) -> None:
    for name, target in links.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
