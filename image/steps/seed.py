"""Put the seed's root together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from image import recipe as names
from image.recipe import SEED_FILES, Trusting, list_of
from image.steps import packages as debian
from image.steps import python, tree
from image.steps.python import SITE
from image.tools import epoch
from image.workshop import ROOT, discard
from loader.entries import MENU
from policies.model import policy_from

LAUNCHERS: Final = {"phase-boot": "main", "fetch-verify-kexec": "fetch_verify_kexec"}
FOLDERS: Final = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "cache",
    "var/log",
    "usr/lib/firmware",
)
LINKS: Final = {
    **tree.MERGED,
    "cas": "cache/cas",
    "var/run": "../run",
    "etc/policy.toml": "phase-boot/internet.toml",
    "etc/resolv.conf": "../run/phase-boot/resolv.conf",
    "etc/mtab": "../proc/self/mounts",
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/phase-boot.target",
    "etc/systemd/system/ctrl-alt-del.target": "/usr/lib/systemd/system/reboot.target",
    "usr/bin/python3": "python3.13",
    "usr/sbin/init": "../lib/systemd/systemd",
}
APPLETS: Final = list_of(SEED_FILES / "applets.list")
SYSTEMCTL: Final = ("halt", "poweroff", "reboot")
KMOD: Final = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")


def root(
    packages: Path,
    interpreter: Path,
    parts: Sequence[tuple[Path, str]],
    recipe: names.Recipe,
    out: Path,
) -> None:
    """Create the seed's root at ``out``.

    Args:
        packages: Debian's files.
        interpreter: a root with the same Python for this machine.
        parts: other trees, each with the place it goes to, relative to the root.
        recipe: what to build.
        out: the folder to create.
    """
    users = [path for part, _ in parts for path in part.rglob("*.so")]
    files = list_of(SEED_FILES / "files.list")
    tree.keep(packages, files, users, recipe.platform, out)
    library = out / "usr/lib/python3.13"
    python.compile_all(interpreter, library, "/usr/lib/python3.13")
    for part, place in parts:
        tree.overlay(part, out / place)
    _copy_own_files(out)
    for folder in FOLDERS:
        (out / folder).mkdir(parents=True, exist_ok=True)
    links = LINKS | {f"usr/bin/{name}": "busybox" for name in APPLETS}
    links |= {f"usr/sbin/{name}": "../bin/systemctl" for name in SYSTEMCTL}
    if (out / "usr/lib64").exists():
        links["lib64"] = "usr/lib64"
    for name, target in links.items():
        tree.write(out / name, "")
        (out / name).unlink()
        (out / name).symlink_to(target)
    _write_generated(out, recipe)
    tree.settle(out, epoch())


def certificates(suite: str, arch: str, out: Path) -> None:
    """Write the certificates of Debian's list into one file, where OpenSSL looks for it."""
    unpacked = out.with_name(out.name + ".packages")
    debian.extract(suite, arch, names.CERTIFICATES, unpacked)
    found = sorted((unpacked / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = "".join(path.read_text(encoding="utf-8").rstrip() + "\n" for path in found)
    tree.write(out / "etc/ssl/certs/ca-certificates.crt", bundle)
    (out / "usr/lib/ssl").mkdir(parents=True)
    (out / "usr/lib/ssl/cert.pem").symlink_to("../../../etc/ssl/certs/ca-certificates.crt")
    discard(unpacked)


def _copy_own_files(out: Path) -> None:
    source = SEED_FILES / "root"
    for path in tree.files_of(source):
        text = (source / path).read_text(encoding="utf-8")
        tree.write(out / path, text, executable=path.endswith(".sh"))


def _write_generated(out: Path, recipe: names.Recipe) -> None:
    for name, function in LAUNCHERS.items():
        tree.write(out / f"usr/bin/{name}", launcher(function), executable=True)
    for mode in MENU:
        template = (ROOT / f"policies/{mode}.toml").read_text(encoding="utf-8")
        policy = compiled(template, recipe.trusting)
        tree.write(out / f"etc/phase-boot/{mode}.toml", policy)
    tree.write(out / "etc/os-release", os_release(names.version(), recipe.platform.arch))
    tree.write(out / "usr/lib/clock-epoch", "")
    built = datetime.fromtimestamp(epoch(), UTC).isoformat()
    tree.write(out / "etc/phase-boot/built", built + "\n")


def launcher(function: str) -> str:
    """Return the script that starts ``function`` of our command line in the fewest steps."""
    lines = [
        "#!/usr/bin/python3 -IS",
        "import sys",
        f'sys.path.append("/{SITE}")',
        f"from phase_boot.cli import {function}",
        f"sys.exit({function}())",
    ]
    return "\n".join(lines) + "\n"


def compiled(template: str, trusting: Trusting) -> str:
    """Return the policy ``template`` with its trust filled in, and refuse it if it is unsound.

    Raises:
        PolicyError: It would not be understood in the seed.
        ValueError: The template has no place for one of the settings.
    """
    settings = {
        "channel": f'"{trusting.channel}"',
        "keys": _array(trusting.keys),
        "threshold": str(trusting.threshold),
        "urls": _array(trusting.urls),
    }
    text = template
    for key, value in settings.items():
        text, hits = re.subn(rf"(?m)^{key} = [^#\n]*?(\s*(?:#.*)?)$", rf"{key} = {value}\1", text)
        if hits != 1:
            raise ValueError(f"the policy template has {hits} lines of {key!r}; one is expected")
    if trusting.keys:
        policy_from(tomllib.loads(text))
    return text


def os_release(version: str, arch: str) -> str:
    """Return os-release of the seed."""
    fields = {
        "ID": "phase-boot-seed",
        "ID_LIKE": "debian",
        "NAME": "Phase Boot",
        "PRETTY_NAME": f"Phase Boot Seed {version}",
        "VERSION_ID": version,
        "ARCHITECTURE": arch,
    }
    return "".join(f'{key}="{value}"\n' for key, value in fields.items())


def _array(values: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
