"""Choose kernel modules: those that a list of patterns names, and their dependencies."""

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


def module_name(path: PurePosixPath) -> str:
    """Return the name of a module in dependency lists, where a dash is an underscore."""
    return path.name.partition(".")[0].replace("-", "_")


def matching(paths: Iterable[PurePosixPath], wanted: Iterable[str]) -> list[PurePosixPath]:
    """Return the paths that a pattern matches, sorted.

    A pattern is that of `fnmatch`, for the path below the `kernel` folder without its suffix; `*`
    matches slashes too. One that ends in ``/`` matches everything below that folder, and one that
    starts with ``!`` removes paths that earlier ones added. One that matches nothing is no error:
    it may name a module of another architecture, or one that is built into this kernel.
    """
    chosen: set[PurePosixPath] = set()
    everything = sorted(paths)
    for pattern in wanted:
        glob = pattern.removeprefix("!")
        glob = glob + "*" if glob.endswith("/") else glob + SUFFIX
        hits = {path for path in everything if fnmatch.fnmatchcase(str(path), glob)}
        chosen = chosen - hits if pattern.startswith("!") else chosen | hits
    return sorted(chosen)


def closure(
    chosen: Iterable[PurePosixPath],
    by_name: Mapping[str, PurePosixPath],
    dependencies: Callable[[PurePosixPath], Iterable[str]],
) -> list[PurePosixPath]:
    """Return ``chosen`` and every module that they depend on, directly or not, sorted.

    A name that is not in ``by_name`` is built into the kernel.
    """
    found: set[PurePosixPath] = set()
    waiting = list(chosen)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [by_name[name] for name in dependencies(path) if name in by_name]
    return sorted(found)


def dependencies_of(module: bytes) -> tuple[str, ...]:
    """Return the modules that an uncompressed ``module`` depends on (`depends` and `softdep`)."""
    names: list[str] = []
    for match in INFO.finditer(module):
        text = match[2].decode()
        if match[1] == b"depends":
            names += text.split(",")
        else:
            names += [name for group in PRE.findall(text) for name in group.split()]
    return tuple(name.replace("-", "_") for name in names if name)


def select(
    tree: Path, wanted: Iterable[str], uncompressed: Iterable[str]
) -> dict[PurePosixPath, bytes]:
    """Return the modules of ``tree`` (a `kernel` folder) that ``wanted`` names, by path below it.

    Their dependencies are included. Modules that ``uncompressed`` names, and the dependencies of
    these, are decompressed and lose the suffix `.xz`, because a boot needs them and decompression
    would delay it; the kernel decompresses the others.
    """
    paths = {PurePosixPath(path.relative_to(tree)) for path in tree.rglob("*" + SUFFIX)}
    by_name = {module_name(path): path for path in sorted(paths)}
    packed: dict[PurePosixPath, bytes] = {}
    loaded: dict[PurePosixPath, bytes] = {}

    def dependencies(path: PurePosixPath) -> tuple[str, ...]:
        packed[path] = (tree / path).read_bytes()
        loaded[path] = lzma.decompress(packed[path])
        return dependencies_of(loaded[path])

    chosen = closure(matching(paths, wanted), by_name, dependencies)
    known = {path: dependencies_of(data) for path, data in loaded.items()}
    plain = set(closure(matching(chosen, uncompressed), by_name, known.__getitem__))
    unpacked = {path.with_suffix(""): loaded[path] for path in chosen if path in plain}
    return unpacked | {path: packed[path] for path in chosen if path not in plain}
