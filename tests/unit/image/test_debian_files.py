"""Choosing files of Debian's packages, and their libraries."""

import struct
from pathlib import Path

import pytest

from image import elf
from image.file_tree import list_files
from image.platforms import PLATFORMS
from image.steps import debian_files
from phase_boot.content.arch import Arch

PLATFORM = PLATFORMS[Arch.ARM64]
LIBRARIES = f"usr/lib/{PLATFORM.triplet}"


def elf_file(*needs: str) -> bytes:
    """Return the smallest ELF file that needs these libraries."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in needs)
    at, offsets = 1, []
    for name in needs:
        offsets.append(at)
        at += len(name) + 1
    dynamic = b"".join(struct.pack("<QQ", 1, offset) for offset in offsets)
    head, table = 64 + 2 * 56, 0x1000
    dynamic += struct.pack("<QQ", 5, table + head) + struct.pack("<QQ", 0, 0)
    size = head + len(strings) + len(dynamic)
    ident = elf.MAGIC + b"\1" + bytes(9)
    fields = (3, 183, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    header = ident + struct.pack("<HHIQQQIHHHHHH", *fields)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, table, table, size, size, 8)
    start = head + len(strings)
    length = len(dynamic)
    dyn = struct.pack("<IIQQQQQQ", 2, 6, start, table + start, table + start, length, length, 8)
    return header + load + dyn + strings + dynamic


def put(root: Path, name: str, data: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_libraries_of_a_file_are_read_on_any_host(tmp_path: Path) -> None:
    assert elf.needed_libraries(put(tmp_path, "a", elf_file("libc.so.6", "libm.so.6"))) == (
        "libc.so.6",
        "libm.so.6",
    )


def test_a_script_is_no_elf_file(tmp_path: Path) -> None:
    script = put(tmp_path, "a", b"#!/bin/sh\n")
    assert not elf.is_elf(script)
    with pytest.raises(ValueError, match="not a 64-bit"):
        elf.needed_libraries(script)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    root = tmp_path / "packages"
    put(root, "usr/bin/tool", elf_file("libone.so.1"))
    put(root, "usr/bin/unwanted", elf_file("libunwanted.so.1"))
    put(root, f"{LIBRARIES}/libone.so.1.0", elf_file("libtwo.so.2"))
    (root / f"{LIBRARIES}/libone.so.1").symlink_to("libone.so.1.0")
    put(root, f"{LIBRARIES}/libtwo.so.2", elf_file())
    put(root, f"{LIBRARIES}/libunwanted.so.1", elf_file())
    put(root, f"{LIBRARIES}/libguest.so.3", elf_file())
    put(root, PLATFORM.interpreter, elf_file())
    return root


def test_libraries_are_added_with_their_links(packages: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    debian_files.select_files(packages, ["usr/bin/tool"], [], PLATFORM, out)
    assert list_files(out) == [
        "usr/bin/tool",
        f"{LIBRARIES}/libone.so.1",
        f"{LIBRARIES}/libone.so.1.0",
        f"{LIBRARIES}/libtwo.so.2",
        PLATFORM.interpreter,
    ]


def test_files_outside_of_packages_add_their_libraries_too(packages: Path, tmp_path: Path) -> None:
    wheel = put(tmp_path, "wheel.so", elf_file("libguest.so.3"))
    debian_files.select_files(packages, ["usr/bin/tool"], [wheel], PLATFORM, tmp_path / "out")
    assert (tmp_path / "out" / LIBRARIES / "libguest.so.3").exists()


def test_a_library_that_no_package_brings_stops_the_build(packages: Path, tmp_path: Path) -> None:
    wheel = put(tmp_path, "wheel.so", elf_file("libmissing.so.9"))
    with pytest.raises(debian_files.MissingFile, match=r"libmissing\.so\.9"):
        debian_files.select_files(packages, ["usr/bin/tool"], [wheel], PLATFORM, tmp_path / "out")


def test_a_pattern_that_matches_nothing_stops_the_build() -> None:
    with pytest.raises(debian_files.MissingFile, match="usr/bin/gone"):
        debian_files.match(["usr/bin/tool"], ["usr/bin/gone"])


def test_an_exclamation_mark_excludes_files() -> None:
    paths = ["lib/a.py", "lib/test/b.py"]
    assert debian_files.match(paths, ["lib/*", "!lib/test/*"]) == {"lib/a.py"}
