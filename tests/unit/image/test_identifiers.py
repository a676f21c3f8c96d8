"""Two images share no identifier, and equal inputs give equal bytes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from image.lab.disk_image import DiskImage
from image.lab.namespace import environment
from image.platforms import PLATFORMS
from image.recipe import MIB, Recipe, version
from image.steps.cache_partition import make_cache
from image.steps.disk import make_disk
from image.steps.esp import EspContents, EspSettings, make_esp
from phase_boot.content.arch import Arch

ROOT_A, ROOT_B = b"hsqs, root of publisher A " * 1000, b"hsqs, root of publisher B " * 1000


def made(folder: Path, squashfs: bytes, arch: Arch = Arch.AMD64, *, menu_seconds: int = 3) -> Path:
    """Build what follows the squashfs of an image, by the builder's own steps."""
    folder.mkdir()
    efi = PLATFORMS[arch].efi
    loader = folder / f"debian/usr/lib/systemd/boot/efi/systemd-boot{efi}.efi"
    loader.parent.mkdir(parents=True)
    loader.write_bytes(b"MZ loader")
    (folder / "linux").mkdir()
    (folder / "linux/vmlinuz").write_bytes(b"a kernel")
    (folder / "initramfs").write_bytes(b"an initramfs")
    (folder / "seed").write_bytes(squashfs)
    recipe = Recipe(arch=arch, menu_seconds=menu_seconds)
    esp, cache, disk = (folder / name for name in ("esp", "cache", "disk"))
    contents = EspContents(
        loader=loader,
        kernel=folder / "linux/vmlinuz",
        initramfs=folder / "initramfs",
        squashfs=folder / "seed",
    )
    settings = EspSettings(
        efi_suffix=efi,
        kernel_options=recipe.options,
        menu_seconds=menu_seconds,
        version=version(),
        size=40 * MIB,
    )
    make_esp(contents, settings, esp)
    make_cache(16 * MIB, folder / "seed", esp, cache)
    make_disk(recipe.platform.root_type, esp, folder / "seed", cache, disk)
    return disk


def output_of(*argv: object) -> str:
    done = subprocess.run(
        [str(word) for word in argv], check=True, capture_output=True, env=environment()
    )
    return done.stdout.decode()


def identifiers(disk: Path) -> dict[str, str]:
    """Every identifier of an image, as tools that know nothing of us read it."""
    table: dict[str, Any] = json.loads(output_of("sfdisk", "--json", disk))["partitiontable"]
    found = {"disk": str(table["id"]).lower()}
    found |= {part["name"]: str(part["uuid"]).lower() for part in table["partitions"]}
    cache = output_of("dumpe2fs", "-h", disk.parent / "cache")
    for field in ("Filesystem UUID", "Directory Hash Seed"):
        (found[field],) = re.findall(rf"(?m)^{field}: +(\S+)$", cache)
    found["ESP serial"] = (disk.parent / "esp").read_bytes()[67:71].hex()
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("first") / "a", ROOT_A)


def test_two_builds_of_the_same_inputs_are_byte_identical(first: Path, tmp_path: Path) -> None:
    again = made(tmp_path / "again", ROOT_A)
    assert hashlib.sha256(again.read_bytes()).digest() == (
        hashlib.sha256(first.read_bytes()).digest()
    )


def test_images_of_two_publishers_differ_in_every_identifier(first: Path, tmp_path: Path) -> None:
    one, other = identifiers(first), identifiers(made(tmp_path / "b", ROOT_B))
    assert one.keys() == other.keys()
    assert len(one) == 7
    assert {name for name in one if one[name] == other[name]} == set()


def test_within_an_image_no_two_identifiers_of_the_table_are_equal(first: Path) -> None:
    found = identifiers(first)
    guids = [found[name] for name in ("disk", "phase-esp", "phase-seed", "phase-cache")]
    assert len({*guids, found["Filesystem UUID"]}) == 5
    assert {UUID(guid).version for guid in guids} == {8}


def test_another_loader_menu_is_another_disk_with_the_same_seed(
    first: Path, tmp_path: Path
) -> None:
    one, other = identifiers(first), identifiers(made(tmp_path / "m", ROOT_A, menu_seconds=9))
    same = {name for name in one if one[name] == other[name]}
    assert same == {"phase-seed"}


@pytest.mark.parametrize("mode", ["internet", "local", "private"])
def test_every_entry_names_the_seed_partition_of_its_own_disk(first: Path, mode: str) -> None:
    entry = DiskImage(first).read_esp(f"loader/entries/phase-{mode}.conf").decode()
    named = re.findall(r"phase\.seed=(\S+)", entry)
    assert named == [identifiers(first)["phase-seed"]]
