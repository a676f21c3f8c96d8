"""Put a root file system together: the part that the seed and the example target share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from image.platforms import Platform
from image.recipe import BASE_FILES, list_of
from image.steps import tree

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
SYSTEMCTL: Final = ("halt", "poweroff", "reboot")
KMOD: Final = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")


def assemble(
    packages: Path,
    own: Sequence[Path],
    parts: Sequence[tuple[Path, str]],
    platform: Platform,
    out: Path,
) -> None:
    """Create the root at ``out``, but for what `finish` adds.

    Args:
        packages: Debian's files.
        own: folders of the repository, each with a `root` and perhaps a `files.list`.
        parts: other trees, each with the place it goes to, relative to the root.
        platform: the architecture.
        out: the folder to create.
    """
    sources = (BASE_FILES, *own)
    lists = [folder / "files.list" for folder in sources]
    patterns = [pattern for path in lists if path.exists() for pattern in list_of(path)]
    users = [path for part, _ in parts for path in part.rglob("*.so")]
    tree.select_files(packages, patterns, users, platform, out)
    for part, place in parts:
        tree.overlay(part, out / place)
    for folder in sources:
        tree.copy(folder / "root", out)


def finish(out: Path, folders: Sequence[str], links: Mapping[str, str], time: int) -> None:
    """Make ``folders`` and ``links`` in ``out`` besides the usual ones, and settle it all."""
    for folder in (*FOLDERS, *folders):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name, target in (common_links(out) | dict(links)).items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    tree.normalize(out, time)


def common_links(out: Path) -> dict[str, str]:
    """Return the symbolic links that every root of ours has, by name."""
    links = LINKS | {f"usr/bin/{name}": "busybox" for name in list_of(BASE_FILES / "applets.list")}
    links |= {f"usr/sbin/{name}": "../bin/systemctl" for name in SYSTEMCTL}
    links |= {f"usr/sbin/{name}": "../bin/kmod" for name in KMOD}
    if (out / "usr/lib64").exists():
        links["lib64"] = "usr/lib64"
    return links


def os_release(name: str, version: str, platform: Platform) -> str:
    """Return os-release of the system ``name``."""
    fields = {
        "ID": name.lower().replace(" ", "-"),
        "ID_LIKE": "debian",
        "NAME": name,
        "PRETTY_NAME": f"{name} {version}",
        "VERSION_ID": version,
        "ARCHITECTURE": platform.arch,
    }
    return "".join(f'{key}="{value}"\n' for key, value in fields.items())
