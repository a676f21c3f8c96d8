"""The versions of external programs."""

from __future__ import annotations

from image.tool_versions import closure_version, read_packages, tool_version
from image.tools import Tool

LISTING = (
    "squashfs-tools\t1:4.6\tlibc6 (>= 2.38), liblz4-1 | liblz4, \t\n"
    "libc6\t2.41\tlibgcc-s1, \t\n"
    "liblz4-1\t{lz4}\tlibc6, \t\n"
    "t64\t1\t, libc6\tliblz4-virtual (= 1)\n"
    "unrelated\t{other}\t, \t\n"
)


def version(lz4: str = "1.10", other: str = "1") -> str:
    return closure_version("squashfs-tools", read_packages(LISTING.format(lz4=lz4, other=other)))


def test_the_libraries_of_a_program_are_part_of_its_version() -> None:
    assert version() == version(other="2")
    assert version() != version(lz4="1.11")


def test_a_virtual_name_leads_to_the_package_that_provides_it() -> None:
    packages = read_packages(LISTING.format(lz4="1", other="1"))
    assert packages["liblz4-virtual"].version == "1"


def test_every_tool_has_a_version_even_where_it_is_not_installed() -> None:
    assert all(tool_version(tool) for tool in Tool)
