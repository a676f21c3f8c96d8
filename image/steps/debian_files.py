"""Choose files of Debian's packages for a root: those that a list names, and their libraries."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from image import elf
from image.errors import BuildError
from image.file_tree import link, list_files
from image.platforms import Platform

LIBRARY_FOLDERS: Final = ("usr/lib/{triplet}", "usr/lib/{triplet}/systemd", "usr/lib")


class MissingFile(BuildError):
    """A pattern that matches nothing, or a library that no package contains."""


def select_files(
    packages: Path, wanted: Iterable[str], users: Iterable[Path], platform: Platform, out: Path
) -> None:
    """Link the files of ``packages`` that ``wanted`` names, and their libraries, to ``out``.

    Args:
        packages: the unpacked packages of Debian.
        wanted: patterns, as `match` reads them.
        users: files from elsewhere that need libraries of ``packages`` too.
        platform: the architecture; it names the library folders.
        out: the root to fill.

    Raises:
        MissingFile: A pattern matches nothing, or no package contains a library.
    """
    globs = [pattern.format(triplet=platform.triplet) for pattern in wanted]
    chosen = match(list_files(packages), globs)
    chosen |= resolve_links(packages, platform.interpreter)
    programs = [packages / path for path in chosen if not (packages / path).is_symlink()]
    chosen |= libraries(packages, [*programs, *users], platform)
    for path in sorted(chosen):
        link(packages / path, out / path)


def match(paths: Iterable[str], globs: Iterable[str]) -> set[str]:
    """Return the paths that a glob matches; a glob that starts with ``!`` removes paths.

    Raises:
        MissingFile: A glob that adds paths matches none.
    """
    everything = list(paths)
    chosen: set[str] = set()
    for glob in globs:
        hits = set(fnmatch.filter(everything, glob.removeprefix("!")))
        if glob.startswith("!"):
            chosen -= hits
        elif hits:
            chosen |= hits
        else:
            raise MissingFile(f"{glob}: no package has such a file; correct the list")
    return chosen


def libraries(packages: Path, programs: Iterable[Path], platform: Platform) -> set[str]:
    """Return the libraries that ``programs`` need, directly or not, and the links to them."""
    found: set[str] = set()
    waiting = list(programs)
    while waiting:
        path = waiting.pop()
        for name in elf.needed_libraries(path) if elf.is_elf(path) else ():
            new = resolve_links(packages, library(packages, name, platform)) - found
            found |= new
            waiting += [packages / each for each in sorted(new)]
    return found


def library(packages: Path, name: str, platform: Platform) -> str:
    """Return the path of the library ``name``, relative to the root.

    Raises:
        MissingFile: No package contains it.
    """
    for folder in LIBRARY_FOLDERS:
        path = PurePosixPath(folder.format(triplet=platform.triplet), name)
        if os.path.lexists(packages / path):
            return str(path)
    raise MissingFile(f"{name}: no package has this library; add the package that does")


def resolve_links(packages: Path, path: str) -> set[str]:
    """Return ``path`` and every path on the chain of links that starts there."""
    steps = {path}
    while (packages / path).is_symlink():
        target = PurePosixPath(path).parent / (packages / path).readlink()
        path = os.path.normpath(target)
        steps.add(path)
    return steps
