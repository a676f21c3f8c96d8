"""Choosing kernel modules: what a list of patterns names, and all that those depend on."""

from __future__ import annotations

import fnmatch
import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

SUFFIX: Final = ".ko.xz"
INFO: Final = re.compile(rb"(?<=\0)(depends|softdep)=([^\0]*)\0")
PRE: Final = re.compile(r"pre: ((?:(?!post:)\S+\s*)+)")


def patterns(text: str) -> tuple[str, ...]:
    """Return the patterns of a list, one a line; ``#`` starts a comment."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line)


def module_name(path: PurePosixPath) -> str:
    """Return the name by which modules speak of each other: dashes and underscores are one."""
    return path.name.partition(".")[0].replace("-", "_")


def matching(paths: Iterable[PurePosixPath], wanted: Iterable[str]) -> list[PurePosixPath]:
    """Return the paths that a pattern names, sorted.

    A pattern that ends in ``/`` means list_candidates below that folder; one that starts with ``!``
    takes away what earlier ones brought.
    """
    chosen: set[PurePosixPath] = set()
    list_candidates = sorted(paths)
    for pattern in wanted:
        glob = pattern.removeprefix("!")
        glob = glob + "*" if glob.endswith("/") else glob + SUFFIX
        hits = {path for path in list_candidates if fnmatch.fnmatchcase(str(path), glob)}
        chosen = chosen - hits if pattern.startswith("!") else chosen | hits
    return sorted(chosen)


def closure(
    chosen: Iterable[PurePosixPath],
    by_name: Mapping[str, PurePosixPath],
    needs: Callable[[PurePosixPath], Iterable[str]],
) -> list[PurePosixPath]:
    """Return ``chosen`` and every module that one of them needs, sorted.

    A name that is not in ``by_name`` is built into the kernel.
    """
    found: set[PurePosixPath] = set()
    waiting = list(chosen)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [by_name[name] for name in needs(path) if name in by_name]
    return sorted(found)


def dependencies_of(module: bytes) -> tuple[str, ...]:
    """Return the modules that an uncompressed ``module`` needs, hard and soft."""
    names: list[str] = []
    for match in INFO.finditer(module):
        text = match[2].decode()
        if match[1] == b"depends":
            names += text.split(",")
        else:
            names += [name for group in PRE.findall(text) for name in group.split()]
    return tuple(name.replace("-", "_") for name in names if name)


def select(tree: Path, wanted: Iterable[str], quick: Iterable[str]) -> dict[PurePosixPath, bytes]:
    """Return the modules of ``tree`` (a `kernel` folder) that ``wanted`` names, with their paths.

    All that they need comes too. Those that ``quick`` names are unpacked, so that loading them
    takes no time; the others stay compressed, and the kernel unpacks them.
    """
    paths = {PurePosixPath(path.relative_to(tree)) for path in tree.rglob("*" + SUFFIX)}
    by_name = {module_name(path): path for path in sorted(paths)}
    packed: dict[PurePosixPath, bytes] = {}
    loaded: dict[PurePosixPath, bytes] = {}

    def needs(path: PurePosixPath) -> tuple[str, ...]:
        packed[path] = (tree / path).read_bytes()
        loaded[path] = lzma.decompress(packed[path])
        return dependencies_of(loaded[path])

    chosen = closure(matching(paths, wanted), by_name, needs)
    known = {path: dependencies_of(data) for path, data in loaded.items()}
    at_once = set(closure(matching(chosen, quick), by_name, known.__getitem__))
    unpacked = {path.with_suffix(""): loaded[path] for path in chosen if path in at_once}
    return unpacked | {path: packed[path] for path in chosen if path not in at_once}
