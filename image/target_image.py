"""Build the example target and publish it: a small Debian that reports what it is."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from image import recipe, stick
from image.build_cache import BUILD, ROOT, BuildCache, Step, discard
from image.recipe import BASE_FILES, PYTHON_FILES, SEED_FILES, TARGET_FILES, Recipe
from image.steps import filesystems, initramfs, kernel, python, target
from image.tools import epoch
from phase_boot.console.progress import progress
from phase_boot.content.version import Version
from phase_boot.publish.keys.keyfile import read_key
from phase_boot.publish.release import Release, publish_release
from phase_boot.store.layout import manifest_path

LIFETIME: Final = timedelta(days=90)
RENEWED: Final = timedelta(days=7)
"""A manifest is published anew so long before it expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What to publish where.

    Attributes:
        recipe: the architecture and the channel.
        key: the publisher's key file.
        site: the mirror's folder.
        version: the version; None makes one of the time.
        jobs: what the target runs besides its own, from the manifest; a file each.
        modules: what those run.
    """

    recipe: Recipe
    key: Path
    site: Path
    version: str | None = None
    jobs: tuple[Path, ...] = ()
    modules: tuple[Path, ...] = ()


def build_artifacts(builds: BuildCache, wanted: Recipe) -> Mapping[str, Path]:
    """Build kernel, initramfs and rootfs of the target, and return where they are."""
    debian = builds.run(stick.debian_packages(wanted))
    interpreter = builds.run(stick.interpreter_packages())
    linux = builds.run(stick.seed_kernel(wanted, debian))
    modules = builds.run(stick.seed_modules(wanted, debian))
    early = builds.run(early_modules(debian))
    first = builds.run(target_initramfs(debian, early))
    wheels = builds.run(target_wheels(wanted, interpreter))
    program = builds.run(stick.own_program(interpreter))
    root = builds.run(target_root(wanted, debian, interpreter, modules, wheels, program))
    rootfs = builds.run(target_rootfs(root))
    return {"kernel": linux / "vmlinuz", "initramfs": first, "rootfs": rootfs}


def early_modules(debian: Path) -> Step:
    """The modules of the target's initramfs."""
    lists = (SEED_FILES / "initramfs.modules", TARGET_FILES / "initramfs.modules")
    patterns = tuple(pattern for path in lists for pattern in recipe.list_of(path))
    return Step(
        name="target-drivers",
        description="choose the drivers that it takes to read the Cache",
        make=partial(kernel.install_modules, debian, patterns, patterns),
        options=patterns,
        inputs=(ROOT / "image/kernel_modules.py",),
        depends_on=(debian,),
    )


def target_initramfs(debian: Path, early: Path) -> Step:
    """The target's initramfs."""
    init = TARGET_FILES / "init"
    return Step(
        name="target-first",
        description="pack busybox, the target's first script and its drivers as initramfs",
        make=partial(initramfs.pack, debian / "usr/bin/busybox", init, early),
        inputs=(init, initramfs.DEVICES),
        depends_on=(debian, early),
    )


def target_wheels(wanted: Recipe, interpreter: Path) -> Step:
    """The locked Python dependencies of Plasma, trimmed and byte-compiled."""
    return Step(
        name="target-wheels",
        description="install the locked wheels that Plasma runs on, by hash, as the seed's",
        make=partial(python.install_wheels, wanted.platform.wheels, interpreter, target.CHOICE),
        options=(wanted.platform.wheels, *target.CHOICE),
        inputs=(ROOT / "uv.lock",),
        depends_on=(interpreter,),
    )


def target_root(wanted: Recipe, debian: Path, *parts: Path) -> Step:
    """The target's root folder."""
    interpreter, modules, wheels, program = parts
    trees = ((modules, ""), (wheels, python.SITE), (program, python.SITE))
    return Step(
        name="target-root",
        description="assemble the target's root: systemd, network, report, Plasma and its jobs",
        make=partial(target.build_root, debian, interpreter, trees, wanted),
        options=(recipe.version(), str(epoch())),
        inputs=(
            BASE_FILES,
            PYTHON_FILES,
            TARGET_FILES,
            ROOT / "image/steps/python.py",
            *stick.ROOTFS_CODE,
        ),
        depends_on=(debian, *parts),
    )


def target_rootfs(root: Path) -> Step:
    """The target's root, packed."""
    options = filesystems.TARGET_OPTIONS
    return Step(
        name="target-rootfs",
        description="pack the target's root as squashfs, in blocks that two versions can share",
        make=partial(filesystems.squashfs, root, options),
        options=(*options, str(epoch())),
        depends_on=(root,),
    )


def link_artifacts(made: Mapping[str, Path], wanted: Recipe) -> Mapping[str, Path]:
    """Link the three files to build/target-<arch>/, and return where they are."""
    folder = BUILD / f"target-{wanted.arch}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in made.items():
        discard(folder / name)
        (folder / name).hardlink_to(path)
    return {name: folder / name for name in made}


def publish_target(order: PublishOptions, files: Mapping[str, Path], now: datetime) -> str:
    """Sign and publish ``files``, unless the SITE has just these; return the version.

    Raises:
        PublishError: The publisher says why.
    """
    key = read_key(order.key)
    wanted = order.recipe
    channel = wanted.trust.channel
    manifest = order.site / manifest_path(channel, wanted.arch)
    sums = {name: f"sha256:{_sha256(path)}" for name, path in files.items()}
    told = json.loads(manifest.read_bytes()) if manifest.exists() else {}
    jobs = [json.loads(path.read_bytes()) for path in order.jobs]
    wants = {"artifacts": sums, **({"jobs": jobs} if jobs else {})}
    if order.version in {None, told.get("version")} and is_current(told, wants, key.keyid, now):
        return str(told["version"])
    release = Release(
        version=Version.parse(order.version or version_of(now)),
        channel=channel,
        arch=wanted.arch,
        files=files,
        issued=now,
        expires=now + LIFETIME,
        cmdline=wanted.options,
        modules=order.modules,
        jobs=order.jobs,
    )
    order.site.mkdir(parents=True, exist_ok=True)
    with progress(sys.stderr) as report:
        done = publish_release(order.site, release, [key], report=report)
    return str(done.manifest.version)


def is_current(
    told: Mapping[str, Any], wants: Mapping[str, object], keyid: str, now: datetime
) -> bool:
    """Say whether the manifest ``told`` is about what it should, signed by ``keyid``, and lasts."""
    if {name: told[name] for name in ("artifacts", "jobs") if name in told} != wants:
        return False
    if [signature["keyid"] for signature in told["signatures"]] != [keyid]:
        return False
    return datetime.fromisoformat(told["expires"]) - now > RENEWED


def version_of(now: datetime) -> str:
    """Return a version that is higher the later it is: the date, and the second of the day."""
    utc = now.astimezone(UTC)
    second = utc.hour * 3600 + utc.minute * 60 + utc.second
    return f"{utc.year}.{utc.month}.{utc.day}.{second}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
