"""Folders of files: list, hash, link, write and remove them, and normalize their metadata.

Trees are put together from hard links: a root file system shares the files of the packages that it
is made of. So a file that a step writes is always a new file, and never one that was linked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def list_files(root: Path) -> list[str]:
    """Return every file and symbolic link below ``root``, as sorted relative paths."""
    found = [
        os.path.relpath(Path(folder, name), root)
        for folder, folders, names in os.walk(root)
        for name in [*names, *(each for each in folders if Path(folder, each).is_symlink())]
    ]
    return sorted(found)


def digest_of(path: Path) -> str:
    """Return the sha256 of a file or of a folder: names, contents, links and execute bits.

    Time stamps do not count.
    """
    if path.is_dir():
        return hashlib.sha256("\n".join(sorted(_lines(path))).encode()).hexdigest()
    return _file_digest(path)


def overlay(source: Path, out: Path) -> None:
    """Link every file below ``source`` to its place below ``out``, replacing what is there."""
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
    """Write ``text`` to a new file at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755 if executable else 0o644)


def discard(path: Path) -> None:
    """Remove a file or a folder; do nothing if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def normalize(root: Path, time: int) -> None:
    """Set every time stamp to ``time`` and every mode to 755 or 644, independent of any umask."""
    for folder, folders, names in os.walk(root, topdown=False):
        for name in [*names, *folders]:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            os.utime(path, (time, time), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (time, time))


def _lines(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        for name in (*names, *folders):
            path = Path(folder, name)
            kind = _file_digest(path) if path.is_symlink() or path.is_file() else "folder"
            yield f"{path.relative_to(root)} {kind}"


def _file_digest(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    executable = "x" if os.access(path, os.X_OK) else "-"
    with path.open("rb") as file:
        return executable + hashlib.file_digest(file, "sha256").hexdigest()
