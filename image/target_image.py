"""Build the example target and publish it: a small Debian that reports its boot and runs Plasma.

The target shares the seed's packages, kernel, modules and interpreter (`image.stick`).
"""

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
from image.build_cache import BuildCache, Step
from image.file_tree import discard
from image.import_graph import ImportGraph
from image.packed_modules import TARGET, packed_files
from image.pattern_list import read_patterns
from image.recipe import (
    BASE_FILES,
    DEVICES,
    LOCK,
    PYTHON_FILES,
    SEED_FILES,
    TARGET_FILES,
    TARGET_WHEELS,
    Recipe,
)
from image.repository import BUILD
from image.steps import initramfs, kernel, python, squashfs, target
from image.steps.rootfs import RootParts
from phase_boot.console.progress import progress
from phase_boot.content.version import Version
from phase_boot.publish.keys.keyfile import read_key
from phase_boot.publish.release import Release, publish_release
from phase_boot.store.layout import manifest_path

LIFETIME: Final = timedelta(days=90)
RENEWAL: Final = timedelta(days=7)
"""A manifest is published anew when less than this remains before it expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What to publish and where.

    Attributes:
        recipe: the architecture and the channel.
        key: the publisher's key file.
        site: the folder of the SITE.
        version: the version; None derives one from the time.
        jobs: files of jobs that the manifest adds to the target's own.
        modules: files of the modules that those jobs run.
    """

    recipe: Recipe
    key: Path
    site: Path
    version: str | None = None
    jobs: tuple[Path, ...] = ()
    modules: tuple[Path, ...] = ()


def build_artifacts(builds: BuildCache, wanted: Recipe) -> Mapping[str, Path]:
    """Build kernel, initramfs and rootfs of the target, and return their paths in the cache."""
    debian = builds.run(stick.debian_packages(wanted))
    interpreter = builds.run(stick.interpreter_packages())
    linux = builds.run(stick.extracted_kernel(wanted, debian))
    modules = builds.run(stick.root_modules(wanted, debian))
    early = builds.run(early_modules(debian))
    first = builds.run(target_initramfs(debian, early))
    wheels = builds.run(target_wheels(wanted, interpreter))
    program = builds.run(target_program(interpreter, builds.graph))
    trees = ((modules, ""), (wheels, python.SITE), (program, python.SITE))
    root = builds.run(target_root(wanted, debian, interpreter, trees))
    rootfs = builds.run(target_rootfs(root))
    return {"kernel": linux / "vmlinuz", "initramfs": first, "rootfs": rootfs}


def early_modules(debian: Path) -> Step:
    """The kernel modules of the target's initramfs."""
    lists = (SEED_FILES / "initramfs.modules", TARGET_FILES / "initramfs.modules")
    patterns = tuple(pattern for path in lists for pattern in read_patterns(path))
    return Step(
        name="target-drivers",
        description="choose the drivers that reading the Cache takes",
        make=partial(kernel.install_modules, debian, patterns, patterns),
    )


def target_initramfs(debian: Path, early: Path) -> Step:
    """The target's initramfs."""
    init = TARGET_FILES / "init"
    return Step(
        name="target-first",
        description="pack busybox, the target's init script and its drivers as initramfs",
        make=partial(initramfs.pack, debian / stick.BUSYBOX, init, DEVICES, early),
    )


def target_wheels(wanted: Recipe, interpreter: Path) -> Step:
    """The Python dependencies of Plasma and of the provider."""
    platform = wanted.platform.wheels
    return Step(
        name="target-wheels",
        description="install the locked wheels that Plasma needs, by hash, and compile",
        make=partial(python.install_wheels, LOCK, platform, interpreter, TARGET_WHEELS),
        options=(recipe.dependencies(),),
    )


def target_program(interpreter: Path, graph: ImportGraph) -> Step:
    """The modules of the project that the target's commands can import."""
    files = packed_files(TARGET, graph)
    return Step(
        name="target-program",
        description=f"copy the {len(files)} modules that the target can import, compile",
        make=partial(python.install_project, files, python.metadata(recipe.project()), interpreter),
    )


def target_root(
    wanted: Recipe, debian: Path, interpreter: Path, trees: tuple[tuple[Path, str], ...]
) -> Step:
    """The target's root folder."""
    parts = RootParts(
        packages=debian,
        interpreter=interpreter,
        sources=(BASE_FILES, PYTHON_FILES, TARGET_FILES),
        trees=trees,
        platform=wanted.platform,
        version=recipe.version(),
    )
    return Step(
        name="target-root",
        description="assemble the target's root: systemd, network, report, Plasma and its jobs",
        make=partial(target.build_root, parts),
    )


def target_rootfs(root: Path) -> Step:
    """The target's root, packed."""
    return Step(
        name="target-rootfs",
        description="pack the target's root as squashfs, in blocks that two versions can share",
        make=partial(squashfs.make_squashfs, root, squashfs.TARGET_OPTIONS),
    )


def link_artifacts(made: Mapping[str, Path], wanted: Recipe) -> Mapping[str, Path]:
    """Link the three files into build/target-<arch>/, and return their paths."""
    folder = BUILD / f"target-{wanted.arch}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in made.items():
        discard(folder / name)
        (folder / name).hardlink_to(path)
    return {name: folder / name for name in made}


def publish_target(options: PublishOptions, files: Mapping[str, Path], now: datetime) -> str:
    """Sign and publish ``files``, unless the SITE has exactly these; return the version.

    Raises:
        PublishError: The key cannot be read, or the SITE cannot be written.
    """
    key = read_key(options.key)
    wanted = options.recipe
    channel = wanted.trust.channel
    manifest = options.site / manifest_path(channel, wanted.arch)
    sums = {name: f"sha256:{_sha256(path)}" for name, path in files.items()}
    published = json.loads(manifest.read_bytes()) if manifest.exists() else {}
    jobs = [json.loads(path.read_bytes()) for path in options.jobs]
    expected = {"artifacts": sums, **({"jobs": jobs} if jobs else {})}
    same_version = options.version in {None, published.get("version")}
    if same_version and is_current(published, expected, key.keyid, now):
        return str(published["version"])
    release = Release(
        version=Version.parse(options.version or version_of(now)),
        channel=channel,
        arch=wanted.arch,
        files=files,
        issued=now,
        expires=now + LIFETIME,
        cmdline=wanted.options,
        modules=options.modules,
        jobs=options.jobs,
    )
    options.site.mkdir(parents=True, exist_ok=True)
    with progress(sys.stderr) as report:
        done = publish_release(options.site, release, [key], report=report)
    return str(done.manifest.version)


def is_current(
    published: Mapping[str, Any], expected: Mapping[str, object], keyid: str, now: datetime
) -> bool:
    """Return whether ``published`` has the ``expected`` fields and need not be renewed.

    A manifest that another key than ``keyid`` signed, or that expires soon, is not current.
    """
    if {name: published[name] for name in ("artifacts", "jobs") if name in published} != expected:
        return False
    if [signature["keyid"] for signature in published["signatures"]] != [keyid]:
        return False
    return datetime.fromisoformat(published["expires"]) - now > RENEWAL


def version_of(now: datetime) -> str:
    """Return a version that grows with time: the date, and the second of the day (UTC)."""
    utc = now.astimezone(UTC)
    second = utc.hour * 3600 + utc.minute * 60 + utc.second
    return f"{utc.year}.{utc.month}.{utc.day}.{second}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
