"""A SITE on disk, written so that no reader, crash or second publisher ever sees half of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from phase_boot.publish.cutting import cutting
from phase_boot.publish.durable import PUBLIC, held, make_folders, sync_folder
from phase_boot.publish.errors import PublishError
from phase_boot.publish.index import index_fault
from phase_boot.store.cid import Cid
from phase_boot.store.digest import Digest
from phase_boot.store.layout import dag_path, entry_path
from phase_boot.store.tree import plant
from phase_boot.trust.manifest import Artifact

WORKSHOP: Final = ".publishing"
"""Where files are made before they get their names; what a killed run left there is removed."""
_CHUNK: Final = 1 << 20


class Site:
    """The root of a mirror, held by one publisher at a time. ``open_site`` makes one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._workshop = root / WORKSHOP

    def read(self, path: str, limit: int) -> bytes | None:
        """Return up to ``limit`` bytes of a file below the root, or None if it is not there."""
        try:
            with (self._root / path).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            return None

    def add(self, name: str, source: Path) -> Artifact:
        """Copy ``source`` into the store under its hash, and return it as the artifact ``name``.

        Raises:
            PublishError: as ``copy`` does.
        """
        artifact, made = self.copy(name, source)
        self.keep(artifact, made)
        return artifact

    def copy(self, name: str, source: Path) -> tuple[Artifact, Path]:
        """Copy ``source`` to where it can be looked at, and return it and the copy.

        Raises:
            PublishError: it is empty, or was written to meanwhile.
        """
        made = self._workshop / name
        digest = hashlib.sha256()
        size = 0
        with source.open("rb") as reader, made.open("wb") as writer:
            before = os.fstat(reader.fileno())
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                writer.write(chunk)
                size += len(chunk)
            after = os.fstat(reader.fileno())
            _finish(writer.fileno())
        if not size:
            raise PublishError(f"The {name} {source} is empty: name the file that was meant.")
        plain = stat.S_ISREG(after.st_mode)
        if plain and (before.st_mtime_ns, size) != (after.st_mtime_ns, after.st_size):
            raise PublishError(
                f"The {name} {source} was changed while it was read: publish it again once nothing "
                "writes to it."
            )
        return Artifact(name, Digest(digest.hexdigest()), size), made

    def keep(self, artifact: Artifact, made: Path) -> None:
        """Put a copy into the store under its hash."""
        self._place(made, entry_path(artifact.digest))

    def entry(self, artifact: Artifact) -> Path:
        """Return where an artifact is in the store."""
        return self._root / entry_path(artifact.digest)

    def chunk(self, artifact: Artifact) -> Cid:
        """Cut a stored artifact into chunks, store the nodes over them, and return their root.

        Raises:
            PublishError: numpy is missing.
        """
        cut = cutting()
        with (self._root / entry_path(artifact.digest)).open("rb") as file:
            tree = plant(cut(file, artifact.size))
        if tree.nodes:
            self.write(dag_path(tree.root), b"".join(tree.car()))
        return tree.root

    def fault(self, artifact: Artifact, dag: Cid | None = None) -> str | None:
        """Say in a few words why ``artifact`` is not in the store as it was signed, or None.

        With ``dag`` its chunks have to be those that this names.
        """
        path = self._root / entry_path(artifact.digest)
        if path.is_symlink() or not path.is_file():
            return f"is not in {path.parent}"
        if path.stat().st_size != artifact.size:
            return f"has {path.stat().st_size} bytes in the store instead of {artifact.size}"
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != artifact.digest.hex:
                return "was changed in the store"
        return None if dag is None else index_fault(self._root, artifact, dag)

    def remove(self, path: str) -> None:
        """Take away a file below the root."""
        (self._root / path).unlink()

    def write(self, path: str, data: bytes) -> Path:
        """Put ``data`` at a path below the root, all at once, and return where it is."""
        copy = self._workshop / "file"
        with copy.open("wb") as writer:
            writer.write(data)
            writer.flush()
            _finish(writer.fileno())
        return self._place(copy, path)

    def _place(self, made: Path, path: str) -> Path:
        target = self._root / path
        new_folders = make_folders(target.parent)
        made.replace(target)
        for folder in (target.parent, *(new.parent for new in new_folders)):
            sync_folder(folder)
        return target


@contextmanager
def open_site(root: Path) -> Iterator[Site]:
    """Make the SITE if need be and hold it against other publishers.

    Raises:
        PublishError: another publisher has it, or the disk refuses; also for what happens inside.
    """
    try:
        make_folders(root)
    except OSError as error:
        raise PublishError(f"{root} cannot be used: {error.strerror}.") from error
    with held(root):
        shutil.rmtree(root / WORKSHOP, ignore_errors=True)
        (root / WORKSHOP).mkdir()
        try:
            yield Site(root)
        finally:
            shutil.rmtree(root / WORKSHOP, ignore_errors=True)


def _finish(fd: int) -> None:
    """Make a file durable and readable for whatever serves the SITE."""
    os.fchmod(fd, PUBLIC)
    os.fsync(fd)
