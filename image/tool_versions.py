"""The versions of the external programs that a build step runs.

A program's output also depends on the libraries that it loads: `mksquashfs` compresses by liblz4.
So the version of a program from a Debian package is that of the package and of all packages that
it depends on, as dpkg has them. For a program from elsewhere it is the hash of its file.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from image.errors import BuildError
from image.tools import Tool, find

SYSTEM_FOLDERS: Final = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
"""Where Debian's packages put their programs; one in /usr/local is not the package's."""
NOT_INSTALLED: Final = "not installed"
FORMAT: Final = "${Package}\t${Version}\t${Depends}, ${Pre-Depends}\t${Provides}\n"
ESSENTIAL: Final = {Tool.TAR: "tar", Tool.DPKG_DEB: "dpkg"}
"""Packages of the programs that every Debian system has."""


class Package(NamedTuple):
    """An installed package of Debian, with the names of the packages that it depends on."""

    version: str
    needs: tuple[str, ...]


@cache
def tool_version(tool: Tool) -> str:
    """Return the version of ``tool`` and of what it loads, as a hash.

    A tool that is not installed has a version of its own, so that a plan needs no tools.
    """
    try:
        path = find(tool)
    except BuildError:
        return NOT_INSTALLED
    package = tool.package or ESSENTIAL.get(tool, "")
    if str(path.parent) in SYSTEM_FOLDERS and package in installed_packages():
        return closure_version(package, installed_packages())
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def closure_version(package: str, installed: Mapping[str, Package]) -> str:
    """Return one hash for the versions of ``package`` and all that it depends on."""
    found: dict[str, str] = {}
    waiting = [package]
    while waiting:
        name = waiting.pop()
        if name in installed and name not in found:
            found[name] = installed[name].version
            waiting += installed[name].needs
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


@cache
def installed_packages() -> Mapping[str, Package]:
    """Return the installed packages by name; none where there is no dpkg."""
    query = shutil.which("dpkg-query")
    if query is None:
        return {}
    done = subprocess.run([query, "-W", "-f", FORMAT], check=True, stdout=subprocess.PIPE)
    return read_packages(done.stdout.decode())


def read_packages(listing: str) -> Mapping[str, Package]:
    """Return the packages of a listing in `FORMAT`.

    A package stands under the virtual names that it provides too; of alternatives all count.
    """
    packages: dict[str, Package] = {}
    provided: dict[str, Package] = {}
    for line in listing.splitlines():
        name, version, needs, provides = line.split("\t")
        # The package itself is among its needs, so that a virtual name leads to it.
        packages[name] = Package(version, (*_names(needs), name))
        provided |= dict.fromkeys(_names(provides), packages[name])
    return provided | packages


def _names(relations: str) -> list[str]:
    """Return the package names of a dependency field (Debian Policy, section 7.1)."""
    return [
        match[1]
        for part in re.split(r"[,|]", relations)
        if (match := re.match(r"\s*([\w.+-]+)", part))
    ]
