"""The steps that build a stick: this file is the table of contents, `image.steps` the chapters.

packages, interpreter, certificates   Debian's files
kernel, modules, early-modules        taken from its kernel package
wheels, program                       Python: dependencies and the project's own modules
root, seed                            the seed's root, and as squashfs
initramfs, esp, cache, disk           what the firmware and the loader read, and the image
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from image import recipe
from image.build_cache import BuildCache, Step
from image.import_graph import ImportGraph
from image.packed_modules import SEED, packed_files
from image.pattern_list import read_patterns
from image.platforms import native
from image.recipe import DEVICES, LOCK, MIB, SEED_FILES, SEED_WHEELS, Recipe
from image.sparse_files import copy_sparse, create_sparse
from image.steps import (
    cache_partition,
    certificates,
    disk,
    esp,
    initramfs,
    kernel,
    packages,
    python,
    seed,
    squashfs,
)
from image.steps.rootfs import RootParts
from image.trust_config import policy_files

BUSYBOX: Final = "usr/bin/busybox"


def build_stick(builds: BuildCache, wanted: Recipe) -> Path:
    """Build the image that ``wanted`` describes, and return its path in the cache."""
    debian = builds.run(debian_packages(wanted))
    bundle = builds.run(certificate_bundle())
    interpreter = builds.run(interpreter_packages())
    linux = builds.run(extracted_kernel(wanted, debian))
    modules = builds.run(root_modules(wanted, debian))
    early = builds.run(early_modules(debian))
    wheels = builds.run(locked_wheels(wanted, interpreter))
    program = builds.run(seed_program(interpreter, builds.graph))
    trees = ((bundle, ""), (modules, ""), (wheels, python.SITE), (program, python.SITE))
    root = builds.run(seed_root(wanted, debian, interpreter, trees))
    packed = builds.run(seed_squashfs(root))
    first = builds.run(seed_initramfs(debian, early))
    loader = builds.run(loader_partition(wanted, debian, linux, first, packed))
    cache = builds.run(cache_file_system(wanted, packed, loader))
    return builds.run(disk_image(wanted, loader, packed, cache))


def debian_packages(wanted: Recipe) -> Step:
    """Debian's programs and kernel, unpacked."""
    names = (*recipe.SEED_PACKAGES, f"linux-image-{wanted.arch}")
    return Step(
        name="packages",
        description=f"unpack Debian {recipe.SUITE} for {wanted.arch} without package scripts",
        make=partial(packages.extract, recipe.SUITE, wanted.arch, names),
    )


def certificate_bundle() -> Step:
    """Certificates of authorities, the same on every architecture."""
    names = recipe.CERTIFICATES
    return Step(
        name="certificates",
        description="unpack Debian's certificates of authorities",
        make=partial(certificates.bundle_certificates, recipe.SUITE, native().arch, names),
    )


def interpreter_packages() -> Step:
    """The seed's Python for this machine."""
    arch = native().arch
    return Step(
        name="interpreter",
        description=f"unpack the seed's Python for this machine ({arch}), to compile bytecode",
        make=partial(packages.extract, recipe.SUITE, arch, recipe.INTERPRETER),
    )


def extracted_kernel(wanted: Recipe, debian: Path) -> Step:
    """The kernel, whose configuration has what the seed needs."""
    return Step(
        name="kernel",
        description="check the kernel's configuration and take the kernel out of its package",
        make=partial(kernel.extract_kernel, debian, wanted.arch),
    )


def root_modules(wanted: Recipe, debian: Path) -> Step:
    """The kernel modules of the root; the target has the same."""
    patterns = read_patterns(SEED_FILES / "modules.list")
    uncompressed = read_patterns(SEED_FILES / "uncompressed.modules")
    return Step(
        name="modules",
        description=f"choose drivers for PCs, servers and VMs, and index them ({wanted.arch})",
        make=partial(kernel.install_modules, debian, patterns, uncompressed),
    )


def early_modules(debian: Path) -> Step:
    """The kernel modules of the seed's initramfs."""
    patterns = read_patterns(SEED_FILES / "initramfs.modules")
    return Step(
        name="early-modules",
        description="choose the drivers that reading the stick takes",
        make=partial(kernel.install_modules, debian, patterns, patterns),
    )


def locked_wheels(wanted: Recipe, interpreter: Path) -> Step:
    """The seed's Python dependencies."""
    platform = wanted.platform.wheels
    return Step(
        name="wheels",
        description="install the locked wheels by hash, remove unused files, compile",
        make=partial(python.install_wheels, LOCK, platform, interpreter, SEED_WHEELS),
        options=(recipe.dependencies(),),
    )


def seed_program(interpreter: Path, graph: ImportGraph) -> Step:
    """The modules of the project that the daemon can import."""
    files = packed_files(SEED, graph)
    return Step(
        name="program",
        description=f"copy the {len(files)} modules that the daemon can import, compile",
        make=partial(python.install_project, files, python.metadata(recipe.project()), interpreter),
    )


def seed_root(
    wanted: Recipe, debian: Path, interpreter: Path, trees: tuple[tuple[Path, str], ...]
) -> Step:
    """The seed's root folder."""
    parts = RootParts(
        packages=debian,
        interpreter=interpreter,
        sources=wanted.seed_sources,
        trees=trees,
        platform=wanted.platform,
        version=recipe.version(),
    )
    return Step(
        name="root",
        description="assemble the seed's root with its policies",
        make=partial(seed.build_root, parts, policy_files(wanted.trust), wanted.trust.authorities),
    )


def seed_squashfs(root: Path) -> Step:
    """The seed's root, packed."""
    return Step(
        name="seed",
        description="pack the root as squashfs",
        make=partial(squashfs.make_squashfs, root, squashfs.SEED_OPTIONS),
    )


def seed_initramfs(debian: Path, early: Path) -> Step:
    """The seed's initramfs."""
    return Step(
        name="initramfs",
        description="pack busybox, the init script and the first drivers as initramfs",
        make=partial(initramfs.pack, debian / BUSYBOX, SEED_FILES / "init", DEVICES, early),
    )


def loader_partition(wanted: Recipe, debian: Path, linux: Path, first: Path, packed: Path) -> Step:
    """The ESP."""
    suffix = wanted.platform.efi
    contents = esp.EspContents(
        loader=debian / f"usr/lib/systemd/boot/efi/systemd-boot{suffix}.efi",
        kernel=linux / "vmlinuz",
        initramfs=first,
        squashfs=packed,
    )
    settings = esp.EspSettings(
        efi_suffix=suffix,
        kernel_options=wanted.options,
        menu_seconds=wanted.menu_seconds,
        version=recipe.version(),
        size=wanted.esp_mib * MIB,
    )
    return Step(
        name="esp",
        description="make the ESP: systemd-boot, its three entries, kernel and initramfs",
        make=partial(esp.make_esp, contents, settings),
    )


def cache_file_system(wanted: Recipe, packed: Path, loader: Path) -> Step:
    """The Cache file system."""
    return Step(
        name="cache",
        description=f"make the Cache: {wanted.cache_mib} MiB of ext4 with an empty store",
        make=partial(cache_partition.make_cache, wanted.cache_mib * MIB, packed, loader),
    )


def disk_image(wanted: Recipe, loader: Path, packed: Path, cache: Path) -> Step:
    """The disk image."""
    return Step(
        name="disk",
        description="write partition table, ESP, Seed and Cache into one disk image",
        make=partial(disk.make_disk, wanted.platform.root_type, loader, packed, cache),
    )


def export(image: Path, out: Path) -> None:
    """Copy the image to ``out``, keeping its holes; a boot may write to the copy."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.new")
    create_sparse(draft, image.stat().st_size)
    with draft.open("r+b") as file:
        copy_sparse(image, file.fileno(), 0)
    draft.replace(out)
