"""Atomic and durable file replacement.

A file is written under a temporary name in the same folder, flushed with fsync(2), given its name
with rename(2) or link(2), and then the folder is flushed, as the name is lost otherwise. A crash at
any point leaves the old content or the new one under the name, never a part of it.

The temporary name is fixed, so the next write reclaims what a crash left. The file is locked while
it is written, so two writers at once do not take each other's temporary file: one of them fails
with ``Locked``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Final, Protocol

from phase_boot.safefs.beneath import UNTRUSTED, folder_beneath, is_regular
from phase_boot.safefs.lock import Locked, lock

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
PUBLIC_FOLDER: Final = 0o755
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Errors of link(2) on a filesystem without hard links, such as FAT.
_NO_LINKS: Final = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))


class Syscalls(Protocol):
    """The calls that change a disk, as the module ``os`` has them. Tests inject failures here."""

    def open(self, path: str, flags: int, mode: int = ..., *, dir_fd: int | None = ...) -> int:
        """Behave as in the manual, section 2."""

    def write(self, fd: int, data: memoryview, /) -> int:
        """Behave as in the manual, section 2."""

    def fchmod(self, fd: int, mode: int) -> None:
        """Behave as in the manual, section 2."""

    def fsync(self, fd: int) -> None:
        """Behave as in the manual, section 2."""

    def rename(
        self, src: str, dst: str, *, src_dir_fd: int | None = ..., dst_dir_fd: int | None = ...
    ) -> None:
        """Behave as in the manual, section 2."""

    def link(
        self, src: str, dst: str, *, src_dir_fd: int | None = ..., dst_dir_fd: int | None = ...
    ) -> None:
        """Behave as in the manual, section 2."""

    def unlink(self, path: str, *, dir_fd: int | None = ...) -> None:
        """Behave as in the manual, section 2."""


def replace(path: Path, data: bytes, mode: int, *, temporary: str | None = None) -> None:
    """Write ``path`` atomically and durably; its folder must exist and may be reached by links.

    Raises:
        Locked: another process is writing it.
        OSError: the disk fails; the old content stays, unless only the final flush failed.
    """
    with folder_beneath(path.parent) as folder_fd:
        replace_at(folder_fd, path.name, [data], mode, temporary=temporary)


def create(path: Path, data: bytes, mode: int) -> None:
    """Write the new file ``path`` atomically and durably.

    Raises:
        FileExistsError: the file exists; it is unchanged.
        Locked: another process is creating it.
        OSError: the disk fails.
    """
    with folder_beneath(path.parent) as folder_fd:
        create_at(folder_fd, path.name, [data], mode)


def replace_at(  # noqa: PLR0913 - two of them have defaults
    folder_fd: int,
    name: str,
    pieces: Iterable[bytes],
    mode: int,
    *,
    temporary: str | None = None,
    system: Syscalls = os,
) -> None:
    """Write ``name`` in the folder ``folder_fd`` atomically and durably.

    Args:
        folder_fd: descriptor of the folder.
        name: the file that is replaced or created.
        pieces: its content.
        mode: its permissions, whatever the umask is.
        temporary: the name under which it is written, by default one made of ``name``. A folder
            whose names never repeat needs a fixed one, so that the next write reclaims it.
        system: the system calls.

    Raises:
        Locked: another process is writing it.
        OSError: the disk fails; the old content stays, unless only the final flush failed.
    """
    with _temporary(folder_fd, temporary or f".{name}.new", pieces, mode, system) as made:
        system.rename(made, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    system.fsync(folder_fd)


def create_at(
    folder_fd: int, name: str, pieces: Iterable[bytes], mode: int, *, system: Syscalls = os
) -> None:
    """Write the new file ``name`` in the folder ``folder_fd`` atomically and durably.

    Raises:
        FileExistsError: the file exists; it is unchanged.
        Locked: another process is creating it.
        OSError: the disk fails.
    """
    with _temporary(folder_fd, f".{name}.new", pieces, mode, system) as made:
        try:
            system.link(made, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # The lock of the temporary file keeps other creators out between these two calls.
            if _exists(name, folder_fd):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            system.rename(made, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        else:
            system.unlink(made, dir_fd=folder_fd)
    system.fsync(folder_fd)


def write_new(
    folder_fd: int, name: str, pieces: Iterable[bytes], mode: int, *, system: Syscalls = os
) -> None:
    """Write the new file ``name`` in place and flush it, for a file that nothing names yet.

    A crash may leave a part of it, so a later rename or another file must make it valid.

    Raises:
        FileExistsError: the file exists.
        OSError: the disk fails; no file is left.
    """
    fd = system.open(name, _NEW, mode, dir_fd=folder_fd)
    try:
        _fill(fd, pieces, mode, system)
    except BaseException:
        with suppress(OSError):
            system.unlink(name, dir_fd=folder_fd)
        raise
    finally:
        os.close(fd)


def flush(fd: int, mode: int, *, system: Syscalls = os) -> None:
    """Set the permissions of an open file that is complete, and make it durable."""
    system.fchmod(fd, mode)
    system.fsync(fd)


def move_at(source: int, name: str, target: int, new: str, *, system: Syscalls = os) -> None:
    """Rename a flushed file, replacing ``new``, and make that durable in both folders."""
    system.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    system.fsync(target)
    system.fsync(source)


def move(path: Path, new: Path) -> None:
    """Rename a flushed file, replacing ``new``, and make that durable in both folders."""
    with folder_beneath(path.parent) as source, folder_beneath(new.parent) as target:
        move_at(source, path.name, target, new.name)


def make_folders(folder: Path) -> list[Path]:
    """Create a folder and its missing parents, readable by a web server whatever the umask is.

    Each new name is made durable. Returns the created folders, the innermost first. Folders that
    exist keep their modes.
    """
    new = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    for each in reversed(new):
        each.mkdir(exist_ok=True)
        each.chmod(PUBLIC_FOLDER)
        sync_folder(each.parent)
    return new


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    with folder_beneath(folder) as folder_fd:
        os.fsync(folder_fd)


@contextmanager
def _temporary(
    folder_fd: int, name: str, pieces: Iterable[bytes], mode: int, system: Syscalls
) -> Iterator[str]:
    """Write a locked temporary file, yield its name, and remove it if the block raises."""
    _reclaim(folder_fd, name, system)
    fd = system.open(name, _NEW, mode, dir_fd=folder_fd)
    try:
        lock(fd, name)
        if not _is_named(fd, name, folder_fd):
            raise Locked(errno.EAGAIN, "another process is writing to it", name)
        try:
            _fill(fd, pieces, mode, system)
            yield name
        except BaseException:
            with suppress(OSError):
                system.unlink(name, dir_fd=folder_fd)
            raise
    finally:
        os.close(fd)


def _reclaim(folder_fd: int, name: str, system: Syscalls) -> None:
    """Remove a temporary file that a crash left, or anything planted in its place.

    Raises:
        Locked: a living process is writing it.
        IsADirectoryError: it is a folder.
    """
    try:
        if not is_regular(name, folder_fd):
            system.unlink(name, dir_fd=folder_fd)
            return
        fd = os.open(name, os.O_RDONLY | UNTRUSTED, dir_fd=folder_fd)
    except FileNotFoundError:
        return
    try:
        lock(fd, name)
        # A lock on a file without its name protects nothing.
        if _is_named(fd, name, folder_fd):
            system.unlink(name, dir_fd=folder_fd)
    finally:
        os.close(fd)


def _fill(fd: int, pieces: Iterable[bytes], mode: int, system: Syscalls) -> None:
    for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[system.write(fd, left) :]
    flush(fd, mode, system=system)


def _is_named(fd: int, name: str, folder_fd: int) -> bool:
    opened = os.fstat(fd)
    try:
        named = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _exists(name: str, folder_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
