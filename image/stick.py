"""Build the stick: this file is the table of contents, `image/steps` are the chapters."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from image import gpt, identifiers, recipe
from image.build_cache import ROOT, BuildCache, Step
from image.platforms import native
from image.recipe import BASE_FILES, MIB, SEED_FILES, Recipe
from image.steps import disk, filesystems, initramfs, kernel, packages, python, seed
from image.tools import epoch
from loader.entries import configuration, menu

KERNEL_PATH: Final = "/phase/vmlinuz"
INITRAMFS_PATH: Final = "/phase/initramfs"
ESP_TYPE: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
CACHE_TYPE: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
NOT_MOUNTED_BY_ITSELF: Final = "GUID:63"
READ_ONLY: Final = "GUID:60"
ROOTFS_CODE: Final = tuple(
    ROOT / "image" / name for name in ("elf.py", "steps/tree.py", "steps/rootfs.py")
)
IDENTITY: Final = ROOT / "image" / "identifiers.py"
SEED_WORD: Final = "phase.seed"
"""The word of the kernel command line by which the initramfs knows its Seed partition."""
VERITY_SHARE: Final = 0.02
"""Room after the squashfs for its hash tree, measured at 0.8 %, and a MiB for its head."""


def build_stick(builds: BuildCache, wanted: Recipe) -> Path:
    """Build the image that ``wanted`` describes, and return where it is."""
    debian = builds.run(debian_packages(wanted))
    certificates = builds.run(certificate_package())
    interpreter = builds.run(interpreter_packages())
    linux = builds.run(seed_kernel(wanted, debian))
    modules = builds.run(seed_modules(wanted, debian))
    early = builds.run(early_modules(debian))
    wheels = builds.run(locked_wheels(wanted, interpreter))
    program = builds.run(own_program(interpreter))
    root = builds.run(
        seed_root(wanted, debian, certificates, interpreter, modules, wheels, program)
    )
    squashfs = builds.run(seed_squashfs(root))
    first = builds.run(seed_initramfs(debian, early))
    esp = builds.run(loader_partition(wanted, debian, linux, first, squashfs))
    cache = builds.run(cache_partition(wanted, squashfs, esp))
    return builds.run(whole_disk(wanted, esp, squashfs, cache))


def debian_packages(wanted: Recipe) -> Step:
    """Debian's programs and kernel, unpacked."""
    names = (*recipe.SEED_PACKAGES, f"linux-image-{wanted.arch}")
    return Step(
        name="packages",
        description=f"unpack Debian {recipe.SUITE} for {wanted.arch} without package scripts",
        make=partial(packages.extract, recipe.SUITE, wanted.arch, names),
        options=(recipe.SUITE, wanted.arch, *names),
    )


def certificate_package() -> Step:
    """Certificates, which are the same on every architecture."""
    return Step(
        name="certificates",
        description="unpack the certificates of the certificate authorities",
        make=partial(seed.bundle_certificates, recipe.SUITE, native().arch),
        options=(recipe.SUITE, *recipe.CERTIFICATES),
    )


def interpreter_packages() -> Step:
    """The seed's Python for this machine, to make bytecode with."""
    arch = native().arch
    return Step(
        name="interpreter",
        description=f"unpack the same Python for this machine ({arch}), to make bytecode with",
        make=partial(packages.extract, recipe.SUITE, arch, recipe.INTERPRETER),
        options=(recipe.SUITE, arch, *recipe.INTERPRETER),
    )


def seed_kernel(wanted: Recipe, debian: Path) -> Step:
    """The kernel, if it can do what the seed asks of it."""
    return Step(
        name="kernel",
        description="check the configuration of the kernel, and take it out of its package",
        make=partial(kernel.extract_kernel, debian, wanted.arch),
        inputs=(ROOT / "image/kconfig.py",),
        depends_on=(debian,),
    )


def seed_modules(wanted: Recipe, debian: Path) -> Step:
    """The modules of the seed's root."""
    patterns = recipe.list_of(SEED_FILES / "modules.list")
    quick = recipe.list_of(SEED_FILES / "uncompressed.modules")
    return Step(
        name="modules",
        description=f"choose drivers for PCs, servers and VMs, and index them ({wanted.arch})",
        make=partial(kernel.install_modules, debian, patterns, quick),
        options=(*patterns, "quick", *quick),
        inputs=(ROOT / "image/kernel_modules.py",),
        depends_on=(debian,),
    )


def early_modules(debian: Path) -> Step:
    """The modules of the seed's initramfs."""
    patterns = recipe.list_of(SEED_FILES / "initramfs.modules")
    return Step(
        name="early-modules",
        description="choose the drivers that it takes to read the stick",
        make=partial(kernel.install_modules, debian, patterns, patterns),
        options=patterns,
        inputs=(ROOT / "image/kernel_modules.py",),
        depends_on=(debian,),
    )


def locked_wheels(wanted: Recipe, interpreter: Path) -> Step:
    """The locked Python dependencies, trimmed and byte-compiled."""
    return Step(
        name="wheels",
        description="install the locked wheels by hash, drop what is never imported, byte-compile",
        make=partial(python.install_wheels, wanted.platform.wheels, interpreter, ()),
        options=(wanted.platform.wheels,),
        inputs=(ROOT / "uv.lock",),
        depends_on=(interpreter,),
    )


def own_program(interpreter: Path) -> Step:
    """Our own packages, byte-compiled."""
    return Step(
        name="program",
        description="copy phase_boot, states, policies and loader, byte-compile",
        make=partial(python.install_project, ROOT, interpreter),
        inputs=(ROOT / "pyproject.toml", *(ROOT / name for name in python.PACKAGES)),
        depends_on=(interpreter,),
    )


def seed_root(wanted: Recipe, debian: Path, certificates: Path, *parts: Path) -> Step:
    """The seed's root folder."""
    interpreter, modules, wheels, program = parts
    trees = (
        (certificates, ""),
        (modules, ""),
        (wheels, python.SITE),
        (program, python.SITE),
    )
    return Step(
        name="root",
        description="put the seed's root together; compile in whom it trusts",
        make=partial(seed.build_root, debian, interpreter, trees, wanted),
        options=(repr(wanted.trust), recipe.version(), str(epoch())),
        inputs=(BASE_FILES, *wanted.own_files, ROOT / "policies", *ROOTFS_CODE),
        depends_on=(debian, certificates, *parts),
    )


def seed_squashfs(root: Path) -> Step:
    """The seed's root, packed."""
    options = filesystems.SEED_OPTIONS
    return Step(
        name="seed",
        description="pack the root as squashfs",
        make=partial(filesystems.squashfs, root, options),
        options=(*options, str(epoch())),
        depends_on=(root,),
    )


def seed_initramfs(debian: Path, early: Path) -> Step:
    """The seed's initramfs."""
    return Step(
        name="initramfs",
        description="pack busybox, the first script and the first drivers as initramfs",
        make=partial(initramfs.pack, debian / "usr/bin/busybox", SEED_FILES / "init", early),
        inputs=(SEED_FILES / "init", initramfs.DEVICES),
        depends_on=(debian, early),
    )


def loader_partition(
    wanted: Recipe, debian: Path, linux: Path, first: Path, squashfs: Path
) -> Step:
    """The ESP."""
    return Step(
        name="esp",
        description="make the ESP: systemd-boot, its three entries, kernel and initramfs",
        make=partial(
            make_esp, wanted=wanted, debian=debian, linux=linux, first=first, squashfs=squashfs
        ),
        options=(str(wanted.esp_mib), str(wanted.menu_seconds), wanted.options, recipe.version()),
        inputs=(ROOT / "loader", ROOT / "image/steps/filesystems.py", IDENTITY),
        depends_on=(debian, linux, first, squashfs),
    )


def make_esp(  # noqa: PLR0913 - the results of five steps, by keyword
    out: Path, *, wanted: Recipe, debian: Path, linux: Path, first: Path, squashfs: Path
) -> None:
    """Gather what the firmware and the loader read, and make the ESP of it."""
    suffix = wanted.platform.efi
    loader = debian / f"usr/lib/systemd/boot/efi/systemd-boot{suffix}.efi"
    seed_word = f"{SEED_WORD}={identifiers.seed_identifier(squashfs)}"
    options = {
        "linux": KERNEL_PATH,
        "initrd": INITRAMFS_PATH,
        "options": f"{wanted.options} {seed_word}",
    }
    files = {
        f"EFI/BOOT/BOOT{suffix.upper()}.EFI": loader.read_bytes(),
        "loader/loader.conf": configuration(timeout=wanted.menu_seconds).encode(),
        KERNEL_PATH.lstrip("/"): (linux / "vmlinuz").read_bytes(),
        INITRAMFS_PATH.lstrip("/"): first.read_bytes(),
    }
    for entry in menu(version=recipe.version(), **options):
        files[f"loader/entries/{entry.name}.conf"] = entry.text().encode()
    size = wanted.esp_mib * MIB
    filesystems.fat32(files, size, identifiers.esp_serial(files, size), "PHASE-ESP", out)


def cache_partition(wanted: Recipe, squashfs: Path, esp: Path) -> Step:
    """The Cache file system."""
    size = wanted.cache_mib * MIB
    return Step(
        name="cache",
        description=f"make the Cache: {wanted.cache_mib} MiB of ext4 with an empty store",
        make=partial(make_cache, size, squashfs, esp),
        options=(str(size), str(epoch())),
        inputs=(ROOT / "image/steps/filesystems.py", IDENTITY),
        depends_on=(squashfs, esp),
    )


def make_cache(size: int, squashfs: Path, esp: Path, out: Path) -> None:
    """Make the Cache file system of this image, and of no other."""
    uuid = identifiers.cache_filesystem(squashfs, esp, size)
    filesystems.ext4(size, uuid, "phase-cache", out)


def whole_disk(wanted: Recipe, esp: Path, squashfs: Path, cache: Path) -> Step:
    """The disk image."""
    return Step(
        name="disk",
        description="write partition table, ESP, Seed and Cache into one disk image",
        make=partial(make_disk, wanted, esp, squashfs, cache),
        options=(wanted.platform.root_type,),
        inputs=(ROOT / "image/gpt.py", ROOT / "image/steps/disk.py", IDENTITY),
        depends_on=(esp, squashfs, cache),
    )


def make_disk(wanted: Recipe, esp: Path, squashfs: Path, cache: Path, out: Path) -> None:
    """Lay out the three partitions and write them."""
    packed = squashfs.stat().st_size
    seed_size = packed + int(packed * VERITY_SHARE) + MIB
    own = identifiers.identifiers(squashfs, esp, cache)
    root_type, hidden = wanted.platform.root_type, NOT_MOUNTED_BY_ITSELF
    partitions = (
        partition("esp", ESP_TYPE, own.esp, esp.stat().st_size),
        partition("seed", root_type, own.seed, seed_size, READ_ONLY, hidden),
        partition("cache", CACHE_TYPE, own.cache, cache.stat().st_size, hidden),
    )
    contents = list(zip(partitions, (esp, squashfs, cache), strict=True))
    disk.assemble(contents, own.disk, out)


def partition(name: str, kind: str, uuid: str, size: int, *attributes: str) -> gpt.Partition:
    """Return the partition ``phase-<name>``."""
    return gpt.Partition(
        name=f"phase-{name}",
        type=kind,
        uuid=uuid,
        size=size,
        attributes=" ".join(attributes),
    )


def export(made: Path, out: Path) -> None:
    """Copy the image to ``out``, keeping its holes; who boots it may write to the copy."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.new")
    filesystems.sparse(draft, made.stat().st_size)
    with draft.open("r+b") as file:
        disk.copy_sparse(made, file.fileno(), 0)
    draft.replace(out)
