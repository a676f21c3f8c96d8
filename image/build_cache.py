"""Steps that are done once: a step's output is kept under the sha256 of everything it is made of.

A key is reckoned from inputs alone (the step's code, its parameters, the files it reads, the keys
of the steps before it), so the whole plan has its keys before anything is built.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
"""The repository."""
BUILD: Final = ROOT / "build"
KEY_LENGTH: Final = 16
KEPT: Final = 4
"""Outputs of one step that are kept: sticks that trust different keys take turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a build.

    Attributes:
        name: its name, in file names and on the terminal.
        description: what it does, for a reader of the plan.
        make: does it; the argument is the folder or file to create.
        options: everything else that the output depends on, as text.
        inputs: files and folders of the repository that it reads.
        depends_on: the results that it uses.
    """

    name: str
    description: str
    make: Callable[[Path], None]
    options: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    depends_on: tuple[Path, ...] = ()


@dataclass(slots=True)
class BuildCache:
    """Where steps are done, or with ``dry_run`` only told."""

    folder: Path
    dry_run: bool = False
    _done: list[str] = field(default_factory=list)

    def run(self, step: Step) -> Path:
        """Return the output of ``step``, made now or kept from an earlier run."""
        output = self.folder / f"{step.name}-{key(step)}"
        kept = output.exists()
        self._say(step, kept=kept)
        if kept or self.dry_run:
            return output
        draft = self.folder / f".{output.name}.{os.getpid()}"
        discard(draft)
        started = time.monotonic()
        step.make(draft)
        draft.rename(output)
        print(f"    done in {time.monotonic() - started:.1f} s", flush=True)
        self._forget_older(step.name)
        return output

    def _say(self, step: Step, *, kept: bool) -> None:
        self._done.append(step.name)
        state = "kept" if kept else "to do" if self.dry_run else "now"
        print(f"{len(self._done):3} {step.name:14} {step.description} [{state}]", flush=True)

    def _forget_older(self, name: str) -> None:
        outputs = self.folder.glob(f"{name}-{'[0-9a-f]' * KEY_LENGTH}")
        # Not by mtime: outputs carry the time stamps of an image.
        newest_first = sorted(outputs, key=lambda path: path.stat().st_ctime, reverse=True)
        for older in newest_first[KEPT:]:
            discard(older)


@contextmanager
def build_lock(folder: Path) -> Iterator[None]:
    """Wait until no other build works in ``folder``, and keep others waiting."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def key(step: Step) -> str:
    """Return the key of ``step``: equal for equal inputs, and for nothing else."""
    parts = {
        "name": step.name,
        "python": sys.version_info[:2],
        "code": _digest_file(Path(inspect.getfile(_function(step.make)))),
        "params": step.options,
        "reads": [digest_of(path) for path in step.inputs],
        "after": [path.name for path in step.depends_on],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def digest_of(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's names and contents (caches left out)."""
    if path.is_file():
        return _digest_file(path)
    names = sorted(_files(path))
    lines = (f"{name.relative_to(path)} {_digest_file(name)}" for name in names)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterable[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _digest_file(path: Path) -> str:
    executable = "x" if os.access(path, os.X_OK) else "-"
    return hashlib.sha256(executable.encode() + path.read_bytes()).hexdigest()


def _function(make: Callable[[Path], None]) -> Callable[..., None]:
    return make.func if isinstance(make, partial) else make
