"""Find the recorded proofs whose inputs changed since the commit that they ran on.

A proof of `make e2e-all` or another long suite stays in docs/release/proofs.json until the next
run. It says nothing about code that changed in between. The inputs of a test are the folders that
its suite builds from or runs, and every file of `tests` that its own file imports or names as a
module.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from tests.proofs import Proof
from tests.results import ROOT

_LOCKED: Final = ("pyproject.toml", "uv.lock")
_RUN: Final = ("phase_boot", "states", "policies", *_LOCKED)
_BOOTED: Final = (*_RUN, "loader", "image")
FOLDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "e2e-all": _BOOTED,
    "soak": _BOOTED,
    "faults": _RUN,
    "fuzz": (*_RUN, "tests/fuzz"),
    "model-check": (*_RUN, "tests/model"),
}
"""By suite, what its tests build or run; a new suite has to say."""
_RESULTS: Final = "image/bench/results/"
"""What the benchmarks write; no test reads it."""
_MODULE: Final = re.compile(r"\btests(?:\.\w+)+")


@dataclass
class Staleness:
    """Compares the work tree with the commits of proofs; every comparison is made once."""

    root: Path = ROOT
    _changed: dict[str, frozenset[str] | None] = field(default_factory=dict)

    def is_stale(self, suite: str, name: str, proof: Proof) -> bool:
        """Say whether an input of the test changed since its proof, or cannot be compared."""
        changed = self._changed_since(proof.commit)
        if changed is None:
            return True
        own = {str(path.relative_to(self.root)) for path in imported(self.root, name)}
        inputs = (path for path in changed if not path.startswith(_RESULTS))
        return any(path in own or path.startswith(_prefixes(suite)) for path in inputs)

    def _changed_since(self, commit: str) -> frozenset[str] | None:
        """Return the paths that differ from ``commit``; None if this clone does not have it."""
        if commit not in self._changed:
            self._changed[commit] = _differing(self.root, commit)
        return self._changed[commit]


def imported(root: Path, name: str) -> frozenset[Path]:
    """Return the test's file, the conftest.py files above it, and what they use of ``tests``.

    The paths of modules that are no longer there are returned too: their removal is a change.
    """
    file = root / name.partition("::")[0]
    folders = [folder for folder in file.parents if folder.is_relative_to(root / "tests")]
    waiting = [file, *(folder / "conftest.py" for folder in folders)]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _used(root, path) if path.is_file() else ()
    return frozenset(found)


@cache
def _used(root: Path, file: Path) -> tuple[Path, ...]:
    return tuple(path for name in _modules(file) for path in _files(root, name))


def _modules(file: Path) -> Iterator[str]:
    """Yield each module of ``tests`` that a file imports, or names in a string or comment."""
    text = file.read_text()
    yield from _MODULE.findall(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tests":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(root: Path, module: str) -> Iterator[Path]:
    place = root.joinpath(*module.split("."))
    yield from (place.with_suffix(".py"), place / "__init__.py")


def _prefixes(suite: str) -> tuple[str, ...]:
    return tuple(name if "." in name else f"{name}/" for name in FOLDERS[suite])


def _differing(root: Path, commit: str) -> frozenset[str] | None:
    command = ["git", "diff", "--name-only", "--no-renames", "-z", commit, "--"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return frozenset(filter(None, done.stdout.split("\0")))
