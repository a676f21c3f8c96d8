"""Put a root together from folders, keeping of Debian's files only what a list names."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from image import elf
from image.errors import BuildError
from image.platforms import Platform

LIBRARY_FOLDERS: Final = ("usr/lib/{triplet}", "usr/lib/{triplet}/systemd", "usr/lib")


class MissingFile(BuildError):
    """A pattern that matches nothing, or a library that no package brought."""


def select_files(
    packages: Path, wanted: Iterable[str], users: Iterable[Path], platform: Platform, out: Path
) -> None:
    """Link the files of ``packages`` that ``wanted`` names, and their libraries, to ``out``.

    Args:
        packages: where Debian's packages were unpacked.
        wanted: patterns, as `match` reads them.
        users: files from elsewhere that need libraries of ``packages`` too.
        platform: names the folders.
        out: the root to fill.

    Raises:
        MissingFile: A pattern matches nothing, or a library is nowhere.
    """
    globs = [pattern.format(triplet=platform.triplet) for pattern in wanted]
    chosen = match(list_files(packages), globs)
    chosen |= resolve_links(packages, platform.interpreter)
    programs = [packages / path for path in chosen if not (packages / path).is_symlink()]
    chosen |= libraries(packages, [*programs, *users], platform)
    for path in sorted(chosen):
        link(packages / path, out / path)


def list_files(root: Path) -> list[str]:
    """Return every file and link below ``root``, as relative paths, sorted."""
    found = [
        os.path.relpath(Path(folder, name), root)
        for folder, folders, names in os.walk(root)
        for name in [*names, *(each for each in folders if Path(folder, each).is_symlink())]
    ]
    return sorted(found)


def match(paths: Iterable[str], globs: Iterable[str]) -> set[str]:
    """Return the paths that a glob names; one that starts with ``!`` takes away.

    Raises:
        MissingFile: A glob that should bring something does not.
    """
    list_candidates = list(paths)
    chosen: set[str] = set()
    for glob in globs:
        hits = set(fnmatch.filter(list_candidates, glob.removeprefix("!")))
        if glob.startswith("!"):
            chosen -= hits
        elif hits:
            chosen |= hits
        else:
            raise MissingFile(f"{glob}: no package has such a file; correct the list")
    return chosen


def libraries(packages: Path, programs: Iterable[Path], platform: Platform) -> set[str]:
    """Return the libraries, links included, that ``programs`` need and those need in turn."""
    found: set[str] = set()
    waiting = list(programs)
    while waiting:
        path = waiting.pop()
        for name in elf.needed(path) if elf.is_elf(path) else ():
            new = resolve_links(packages, library(packages, name, platform)) - found
            found |= new
            waiting += [packages / each for each in sorted(new)]
    return found


def library(packages: Path, name: str, platform: Platform) -> str:
    """Return where the library ``name`` is, relative to the root.

    Raises:
        MissingFile: It is nowhere.
    """
    for folder in LIBRARY_FOLDERS:
        path = PurePosixPath(folder.format(triplet=platform.triplet), name)
        if os.path.lexists(packages / path):
            return str(path)
    raise MissingFile(f"{name}: no package brings this library; add the one that does")


def resolve_links(packages: Path, path: str) -> set[str]:
    """Return ``path`` and what it links to, step by step."""
    steps = {path}
    while (packages / path).is_symlink():
        target = PurePosixPath(path).parent / (packages / path).readlink()
        path = os.path.normpath(target)
        steps.add(path)
    return steps


def overlay(source: Path, out: Path) -> None:
    """Link every file below ``source`` to its place below ``out``; the later one stays."""
    for path in list_files(source):
        link(source / path, out / path)


def copy(source: Path, out: Path) -> None:
    """Copy text files of the repository to ``out``; a checkout's files are never hard-linked."""
    for path in list_files(source):
        text = (source / path).read_text(encoding="utf-8")
        write(out / path, text, executable=text.startswith("#!"))


def link(source: Path, target: Path) -> None:
    """Put ``source`` at ``target``: a symbolic link as one, a file as a hard link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    else:
        os.link(source, target)


def write(path: Path, text: str, *, executable: bool = False) -> None:
    """Write a file that no other tree shares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755 if executable else 0o644)


def normalize(root: Path, time: int) -> None:
    """Give every file and folder the same time stamp, and modes that no umask shaped."""
    for folder, folders, names in os.walk(root, topdown=False):
        for name in [*names, *folders]:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            os.utime(path, (time, time), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (time, time))
