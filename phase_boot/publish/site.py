"""Atomic, crash-safe writes to a SITE, the folder that a publisher makes for any web server.

Each file is written to a staging folder, flushed, and renamed to its final path, so no reader sees
a partly written file and a crash leaves none at its path. Artifacts are stored by their sha256 and
do not change; the caller writes the manifest that names them last, so a reader of the SITE finds
everything that a manifest names. The SITE is locked against other publishers while one runs.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from phase_boot.console.progress import Report, unreported
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.dag_builder import FileDag
from phase_boot.content.list_file import list_root
from phase_boot.publish.check.chunk_check import index_fault, named_dags
from phase_boot.publish.chunking import load_chunker
from phase_boot.publish.errors import PublishError
from phase_boot.publish.folder_lock import locked
from phase_boot.publish.reading import Clone, clone, copy, hash_file, is_plain
from phase_boot.safefs.atomic import PUBLIC, flush, make_folders, move, sync_folder
from phase_boot.store.layout import ENTRIES, dag_path, entry_path

STAGING: Final = ".publishing"
"""Staging folder below the SITE; the next run removes files that an interrupted run left."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A hashed artifact that can be checked before it becomes an entry of the store."""

    artifact: Artifact
    path: Path
    """A copy in the staging folder, or the entry in the store if it has the same bytes."""
    dag: FileDag | None = None
    """The DAG over its chunks, if the hashing pass built it."""
    fault: str | None = None
    """The fault of the stored entry that the copy will replace (see `Site.find_fault`), or None."""


class Site:
    """A SITE that is locked by this publisher; `open_site` makes it."""

    def __init__(self, root: Path, *, report: Report = unreported, share: Clone = clone) -> None:
        self._root = root
        self._staging = root / STAGING
        self._report = report
        self._share = share

    def read(self, path: str, limit: int) -> bytes | None:
        """Return the first ``limit`` bytes of a file below the root; None if it does not exist."""
        try:
            with (self._root / path).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            return None

    def add(self, name: str, source: Path) -> Staged:
        """Stage ``source`` as the artifact ``name`` and store it.

        Raises:
            PublishError: ``source`` is empty or changed while it was read.
        """
        staged = self.stage(name, source)
        self.commit(staged)
        return staged

    def stage(self, name: str, source: Path) -> Staged:
        """Hash and chunk ``source``, and copy it to staging unless the store has the same bytes.

        Args:
            name: the artifact's name in the manifest, such as `kernel`.
            source: a file or a pipe.

        Raises:
            PublishError: ``source`` is empty or changed while it was read, by its time and size.
        """
        with source.open("rb") as reader:
            before = os.fstat(reader.fileno())
            staged = self._matching_entry(name, reader) or self._copy_in(name, reader)
            after = os.fstat(reader.fileno())
            plain = is_plain(reader)
        size = staged.artifact.size
        if not size:
            raise PublishError(f"The {name} {source} is empty: name another file.")
        if plain and (before.st_mtime_ns, size) != (after.st_mtime_ns, after.st_size):
            raise PublishError(
                f"The {name} {source} changed while it was read: publish it again when nothing "
                "writes to it."
            )
        return staged

    def commit(self, staged: Staged) -> None:
        """Move a staged artifact into the store, durably; replace a faulty entry."""
        path = entry_path(staged.artifact.digest)
        if staged.path == self._root / path:
            self._make_durable(path)
        else:
            self._publish_file(staged.path, path)

    def entry(self, artifact: Artifact) -> Path:
        """Return the path of an artifact in the store, whether or not it exists."""
        return self._root / entry_path(artifact.digest)

    def store_dag(self, artifact: Artifact, dag: FileDag | None = None) -> Cid:
        """Store the DAG nodes that link the chunks of a stored artifact; return the root CID.

        A valid DAG that a manifest of the SITE names for the same bytes is reused.

        Args:
            artifact: an artifact in the store.
            dag: the DAG that staging built; without it the entry is read and chunked.

        Raises:
            PublishError: numpy is missing, which the chunker needs.
        """
        chunker = load_chunker()
        sizes = chunker.sizes(artifact.size)
        for root in named_dags(self._root, artifact.digest):
            if not index_fault(self._root, artifact, root, sizes=sizes, report=self._report):
                if (self._root / dag_path(root)).exists():
                    self._make_durable(dag_path(root))
                return root
        if dag is None:
            with self.entry(artifact).open("rb") as file:
                dag = chunker.build(_Counted(file, artifact, self._report), artifact.size)
        if dag.nodes:
            self.write(dag_path(dag.root), b"".join(dag.car()))
        return dag.root

    def chunk_list(self, dag: Cid) -> Cid:
        """Return the CID of the stored nodes of a DAG as a file of IPFS."""
        return list_root((self._root / dag_path(dag)).read_bytes())

    def find_fault(self, artifact: Artifact, dag: Cid | None = None) -> str | None:
        """Read a stored file whole, and return how it differs from ``artifact``, or None.

        The result is a predicate, such as "has other bytes in the store". A missing file is a
        fault as well. With ``dag`` the file's chunks must be those of that DAG.
        """
        path = self.entry(artifact)
        if path.is_symlink() or not path.is_file():
            return f"is not in {path.parent}"
        if path.stat().st_size != artifact.size:
            return f"has {path.stat().st_size} bytes in the store instead of {artifact.size}"
        with path.open("rb") as file:
            if hash_file(artifact.name, file, self._report).digest != artifact.digest:
                return "has other bytes in the store"
        if dag is None:
            return None
        return index_fault(self._root, artifact, dag, report=self._report)

    def remove(self, path: str) -> None:
        """Remove a file below the root; raise FileNotFoundError if it does not exist."""
        (self._root / path).unlink()

    def write(self, path: str, data: bytes) -> Path:
        """Write ``data`` atomically and durably to a path below the root; return the whole path."""
        made = self._staging / "file"
        with made.open("wb") as writer:
            writer.write(data)
            _finish(writer)
        return self._publish_file(made, path)

    def _matching_entry(self, name: str, reader: BinaryIO) -> Staged | None:
        """Return the entry with the bytes of an open file; None, and the file rewound, if none."""
        # Copying hashes too, so without an entry of this size nothing is read twice.
        if not is_plain(reader) or not self._has_entry_of(os.fstat(reader.fileno()).st_size):
            return None
        artifact = hash_file(name, reader, self._report)
        reader.seek(0)
        # The entry is read too: a damaged one would otherwise be published forever.
        return None if self.find_fault(artifact) else Staged(artifact, self.entry(artifact))

    def _copy_in(self, name: str, reader: BinaryIO) -> Staged:
        made = self._staging / name
        with made.open("w+b") as writer:
            content = copy(name, reader, writer, self._share, self._report)
            artifact = content.artifact
            self._report(f"{name}: flush", artifact.size, max(1, artifact.size))
            _finish(writer)
        entry = self.entry(artifact)
        if not os.path.lexists(entry):
            return Staged(artifact, made, content.dag)
        if entry.is_symlink() or not entry.is_file():
            return Staged(artifact, made, content.dag, "is not a regular file in the store")
        fault = self.find_fault(artifact)
        return Staged(artifact, entry if fault is None else made, content.dag, fault)

    def _has_entry_of(self, size: int) -> bool:
        try:
            with os.scandir(self._root / ENTRIES) as entries:
                found = [entry.stat(follow_symlinks=False) for entry in entries]
        except FileNotFoundError:
            return False
        return any(stat.S_ISREG(each.st_mode) and each.st_size == size for each in found)

    def _make_durable(self, path: str) -> None:
        """Make a file of the SITE and its name durable, as a killed run may have written it."""
        with (self._root / path).open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != PUBLIC:
                os.fchmod(file.fileno(), PUBLIC)
            os.fsync(file.fileno())
        self._sync_folders(path)

    def _publish_file(self, made: Path, path: str) -> Path:
        target = self._root / path
        make_folders(target.parent)
        move(made, target)
        self._sync_folders(path)
        return target

    def _sync_folders(self, path: str) -> None:
        """Make the names of a file's folders durable, as a killed run may have created them."""
        for folder in Path(path).parents:
            sync_folder(self._root / folder)


@contextmanager
def open_site(root: Path, *, report: Report = unreported, share: Clone = clone) -> Iterator[Site]:
    """Create the SITE if necessary, and lock it against other publishers.

    Args:
        root: the SITE.
        report: called with the progress of reading and writing whole artifacts.
        share: makes a reflink (copy-on-write clone) of a file where the file system can.

    Raises:
        PublishError: another publisher holds the lock, or the SITE cannot be created or locked.
    """
    try:
        make_folders(root)
    except OSError as error:
        raise PublishError(f"{root} cannot be used: {error.strerror}.") from error
    with locked(root):
        shutil.rmtree(root / STAGING, ignore_errors=True)
        (root / STAGING).mkdir()
        try:
            yield Site(root, report=report, share=share)
        finally:
            shutil.rmtree(root / STAGING, ignore_errors=True)


class _Counted:
    """An open artifact that reports the progress of reading it."""

    def __init__(self, file: BinaryIO, artifact: Artifact, report: Report) -> None:
        self._file = file
        self._artifact = artifact
        self._report = report
        self._done = 0

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` more bytes; empty at the end."""
        data = self._file.read(size)
        self._done += len(data)
        self._report(f"{self._artifact.name}: index", self._done, self._artifact.size)
        return data


def _finish(file: BinaryIO) -> None:
    """Make a file durable, and readable for any web server."""
    file.flush()
    flush(file.fileno(), PUBLIC)
