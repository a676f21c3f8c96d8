"""The build cache: a step runs once, and again when anything that its result depends on changes.

A step is a call of one function of `image.steps`, and its result is a file or folder. The result is
stored under a key, a hash of everything that goes into it:

- the code: every module of the project that the function's module imports, directly or not
  (`image.import_graph`), and the versions of the other libraries among them;
- the arguments: text and numbers as they are, files and folders by content. A path into the cache
  is the result of an earlier step, so a step that uses a result depends on its content: an earlier
  step that runs again and makes the same bytes causes no further work;
- the versions of the external programs that this code runs (`image.tool_versions`);
- what all programs share: the time stamp of the image, Python, the architecture of this machine.

One input has no version: Debian's archive and the package index, as they are on the day. A step
that downloads keeps its result until `make clean`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Final

from image.file_tree import digest_of, discard
from image.import_graph import ImportGraph
from image.repository import ROOT
from image.tool_versions import tool_version
from image.tools import Tool, epoch

KEY_LENGTH: Final = 16
KEPT: Final = 4
"""Results of one step that are kept: sticks that trust different keys take turns."""
NOT_BUILT: Final = "not built"
"""Stands in a plan for the content of a result that an earlier step has yet to make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a build.

    Attributes:
        name: its name, in file names and on the terminal.
        description: what it does, for a reader of the plan.
        make: the call that creates the result, at the path that is its last argument.
        options: other values on which the result depends, such as what a tool reads by itself.
    """

    name: str
    description: str
    make: partial[None]
    options: tuple[str, ...] = ()


@dataclass(slots=True)
class BuildCache:
    """Results of steps in ``folder``; with ``dry_run`` steps are listed and none runs.

    Attributes:
        folder: where results are stored.
        dry_run: print the plan only.
        repository: the project whose code the steps are.
        tool_version: returns the version of an external program.
        graph: the imports of that code.
    """

    folder: Path
    dry_run: bool = False
    repository: Path = ROOT
    tool_version: Callable[[Tool], str] = tool_version
    graph: ImportGraph = field(init=False)
    _digests: dict[Path, str] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.graph = ImportGraph(self.repository)

    def run(self, step: Step) -> Path:
        """Return the result of ``step``, from the cache or made now."""
        result = self.folder / f"{step.name}-{self.key(step)}"
        cached = result.exists()
        self._print(step, cached=cached)
        if not cached and not self.dry_run:
            self._make(step, result)
        return result

    def key(self, step: Step) -> str:
        """Return the key of ``step``.

        Raises:
            TypeError: An argument is of a type whose content no key can stand for.
            ValueError: An argument is a path outside of the repository and the cache.
        """
        function = step.make.func
        module = self.graph.module(Path(function.__code__.co_filename))
        modules = self.graph.closure([module])
        parts = {
            "name": step.name,
            "function": f"{module}:{function.__qualname__}",
            "code": {each: self._file_digest(self.graph.file(each)) for each in modules},
            "libraries": _library_versions(self.graph.external(modules)),
            "tools": {name: self.tool_version(Tool[name]) for name in self.graph.tools(modules)},
            "arguments": [self._encode(each) for each in step.make.args],
            "keywords": self._encode(step.make.keywords),
            "options": step.options,
            "machine": (epoch(), platform.machine(), platform.python_version()),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]

    def _make(self, step: Step, result: Path) -> None:
        draft = self.folder / f".{result.name}.{os.getpid()}"
        discard(draft)
        started = time.monotonic()
        step.make(draft)
        self._digest_file(result).unlink(missing_ok=True)
        draft.rename(result)
        print(f"    done in {time.monotonic() - started:.1f} s", flush=True)
        self._remove_old(step.name)

    def _print(self, step: Step, *, cached: bool) -> None:
        self._count += 1
        state = "cached" if cached else "to do" if self.dry_run else "now"
        print(f"{self._count:3} {step.name:14} {step.description} [{state}]", flush=True)

    def _remove_old(self, name: str) -> None:
        results = self.folder.glob(f"{name}-{'[0-9a-f]' * KEY_LENGTH}")
        # Not by modification time: results carry the time stamps of an image.
        newest_first = sorted(results, key=lambda path: path.stat().st_ctime, reverse=True)
        for old in newest_first[KEPT:]:
            discard(old)
            discard(self._digest_file(old))

    def _encode(self, value: object) -> object:
        """Return ``value`` as JSON that is equal for equal values and for nothing else."""
        if isinstance(value, Enum):
            return [type(value).__name__, value.name]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Path):
            return ["path", *self._path(value)]
        if isinstance(value, tuple | list):
            return [self._encode(each) for each in value]
        return {type(value).__name__: [self._encode(each) for each in _parts(value)]}

    def _path(self, path: Path) -> tuple[str, str]:
        """Return the machine-independent path of ``path``, and its content."""
        if path.is_relative_to(self.folder):
            inner = path.relative_to(self.folder)
            result = self.folder / inner.parts[0]
            # The key in a result's name stands for its inputs; only its content counts here.
            name = Path(result.name[: -KEY_LENGTH - 1], *inner.parts[1:])
            return str(name), self._result_digest(path) if path == result else self._content(path)
        if path.is_relative_to(self.repository):
            return str(path.relative_to(self.repository)), self._content(path)
        raise ValueError(f"{path} is neither of the repository nor a result of a step")

    def _content(self, path: Path) -> str:
        return digest_of(path) if os.path.lexists(path) else NOT_BUILT

    def _result_digest(self, result: Path) -> str:
        """Return the digest of a result; a large folder is read once and its digest stored."""
        if not result.exists():
            return NOT_BUILT
        file = self._digest_file(result)
        if not file.exists():
            draft = file.with_name(f"{file.name}.{os.getpid()}")
            draft.write_text(digest_of(result), encoding="ascii")
            draft.replace(file)
        return file.read_text(encoding="ascii")

    def _digest_file(self, result: Path) -> Path:
        return result.with_name(f".{result.name}.digest")

    def _file_digest(self, file: Path | None) -> str:
        assert file is not None, "a closure holds modules of the project alone"  # noqa: S101
        if file not in self._digests:
            self._digests[file] = digest_of(file)
        return self._digests[file]


@contextmanager
def build_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the builds in ``folder``; wait while another build holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parts(value: object) -> Iterable[object]:
    """Return the values that ``value`` is made of."""
    if isinstance(value, bytes):
        return [value.hex()]
    if isinstance(value, Mapping):
        return sorted(value.items())
    if is_dataclass(value):
        return [getattr(value, each.name) for each in fields(value)]
    raise TypeError(f"{value!r}: no key stands for a {type(value).__name__}; pass its parts")


def _library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of the libraries that provide the modules ``names``."""
    distributions = packages_distributions()
    providers = {each for name in names for each in distributions.get(name, ())}
    return {each: version(each) for each in providers}
