"""The disk of the store on a real filesystem.

The folders may have been changed by an attacker while the machine was off. So no link is followed,
only plain files are opened, and a partial file is written only if it has no second name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from phase_boot.safefs.atomic import flush, move_at
from phase_boot.safefs.beneath import UNTRUSTED, folder_beneath, is_regular, open_regular
from phase_boot.safefs.lock import lock
from phase_boot.store.disk import FileInfo, Folder
from phase_boot.store.errors import DiskFailed, store_errors

_TRIES: Final = 8
_BLOCK: Final = 4096
"""Bytes of the smallest unit that two files can share on a filesystem that supports it."""
_BUFFER: Final = 1 << 18
_WRITEBACK_SPAN: Final = 1 << 23
"""Bytes of a span whose writeback starts when its last byte is written."""
# Errors of a kernel, a filesystem or a seccomp filter without support for copy_file_range.
_UNABLE: Final = frozenset((errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM))


class PosixDisk:
    """``Disk`` in a directory, which is created by the first write.

    No descriptor stays open between calls, so the filesystem can be unmounted.
    """

    def __init__(self, root: Path) -> None:
        """Use ``root`` for the folders ``sha256``, ``tmp``, ``corrupt`` and ``dag``."""
        self._root = root

    def items(self, folder: Folder) -> tuple[FileInfo, ...]:
        """List a folder; a folder that does not exist yet is empty."""
        with store_errors(f"list {folder}"):
            try:
                with self._open_folder(folder) as folder_fd:
                    return tuple(self._items(folder, folder_fd))
            except FileNotFoundError:
                return ()

    def open(self, folder: Folder, name: str) -> int:
        """Open a plain file to read, never through a link, and record the time of the use."""
        with store_errors(f"open {folder}/{name}"), self._open_folder(folder) as folder_fd:
            fd = open_regular(name, folder_fd)
            try:
                return _mark_used(fd)
            except BaseException:
                os.close(fd)
                raise

    def open_partial(self, name: str) -> int:
        """Open a partial file, created if necessary, positioned at its end."""
        with (
            store_errors(f"write {Folder.PARTIALS}/{name}"),
            self._open_folder(Folder.PARTIALS, create=True) as folder_fd,
        ):
            for _ in range(_TRIES):
                fd = _open_locked(name, folder_fd)
                if fd is not None:
                    return fd
        raise DiskFailed(f"{Folder.PARTIALS}/{name} keeps changing while it is opened.")

    def write(self, fd: int, data: memoryview) -> int:
        """Append ``data`` to a partial file and return how many bytes were written."""
        with store_errors("write to the store"):
            return os.write(fd, data)

    def reserve(self, fd: int, size: int) -> None:
        """Extend a partial file to ``size`` bytes and allocate the space, if supported."""
        with store_errors("reserve room in the store"):
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError as error:
                if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                    raise

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        """Write ``data`` at ``offset`` of a partial file and return how many bytes were written."""
        with store_errors("write to the store"):
            taken = os.pwrite(fd, data, offset)
            _start_writeback(fd, offset, offset + taken)
            return taken

    def copy(self, start: int, source: int, length: int, fd: int, offset: int) -> int:
        """Copy bytes of an open file into a partial one, shared if possible; return how many.

        Only whole blocks can be shared, so the bytes before the first block are copied separately.
        """
        length = _up_to_a_block(start, offset, length)
        with store_errors("copy within the store"):
            try:
                taken = os.copy_file_range(source, fd, length, start, offset)
            except OSError as error:
                if error.errno not in _UNABLE:
                    raise
            else:
                if taken:
                    return taken
            # Some filesystems return 0 if they do not support it.
            return os.pwrite(fd, os.pread(source, min(length, _BUFFER), start), offset)

    def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
        """Make the partial file ``name``, open as ``fd``, the entry ``entry``, durably."""
        with (
            store_errors(f"publish {entry}"),
            self._open_folder(Folder.PARTIALS) as source,
            self._open_folder(folder, create=True) as target,
        ):
            flush(fd, 0o444)
            _move(name, source, entry, target)

    def quarantine(self, name: str) -> None:
        """Move the entry ``name``, of whatever file type, to the corrupt ones."""
        with (
            store_errors(f"set {name} aside"),
            self._open_folder(Folder.ENTRIES) as source,
            self._open_folder(Folder.CORRUPT, create=True) as target,
        ):
            _move(name, source, name, target)

    def remove(self, folder: Folder, name: str) -> None:
        """Remove a file, of whatever file type; ``Busy`` while it is open."""
        with store_errors(f"remove {folder}/{name}"), self._open_folder(folder) as folder_fd:
            if not is_regular(name, folder_fd):
                _remove_anything(name, folder_fd)
                return
            fd = open_regular(name, folder_fd)
            try:
                lock(fd, name)
                os.unlink(name, dir_fd=folder_fd)
            finally:
                os.close(fd)

    def free_space(self) -> int:
        """Return how many bytes can still be written."""
        with store_errors("ask for the free space of the store"):
            existing = self._root
            while not existing.exists() and existing != existing.parent:
                existing = existing.parent
            free = os.statvfs(existing)
            return free.f_bavail * free.f_frsize

    @contextmanager
    def _open_folder(self, folder: Folder, *, create: bool = False) -> Iterator[int]:
        """Open a folder, which may not be a link; the root may, as the configuration names it."""
        if create:
            self._root.mkdir(parents=True, exist_ok=True)
        with folder_beneath(self._root, [folder], create=0o755 if create else None) as folder_fd:
            yield folder_fd

    @staticmethod
    def _items(folder: Folder, folder_fd: int) -> Iterator[FileInfo]:
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield FileInfo(folder, entry.name, found.st_size, found.st_mtime_ns)


def _start_writeback(fd: int, start: int, end: int) -> None:
    """Start the writeback of each completed span, so that the final fsync has little left to do.

    The call does not wait. It also drops clean pages of the range from the cache; there are none,
    because each span is passed once, when its last byte was written.
    """
    first, after = (
        start // _WRITEBACK_SPAN * _WRITEBACK_SPAN,
        end // _WRITEBACK_SPAN * _WRITEBACK_SPAN,
    )
    # A disk without support for it is flushed at the end.
    with contextlib.suppress(OSError):
        if first < after:
            os.posix_fadvise(fd, first, after - first, os.POSIX_FADV_DONTNEED)


def _up_to_a_block(start: int, offset: int, length: int) -> int:
    """Return how much to copy first: up to the next block, if both offsets are aligned there."""
    past = offset % _BLOCK
    aligned = past and start % _BLOCK == past
    return min(length, _BLOCK - past) if aligned else length


def _mark_used(fd: int) -> int:
    """Record the use of an open file and lock it as long as it is open."""
    # This fails on a read-only disk or for a file of another owner; then it looks older.
    with contextlib.suppress(OSError):
        os.utime(fd)
    # An exclusive lock means that it is being published or removed at this moment. Both leave the
    # bytes of this descriptor unchanged.
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return fd


def _open_locked(name: str, folder_fd: int) -> int | None:
    """Open and lock a partial file; None if something else was there and was removed."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | UNTRUSTED, 0o600, dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise
        _remove_anything(name, folder_fd)
        return None
    try:
        lock(fd, name)
        if _is_exclusive(fd, name, folder_fd):
            os.lseek(fd, 0, os.SEEK_END)
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _is_exclusive(fd: int, name: str, folder_fd: int) -> bool:
    """Return whether the locked file still has this name, and has no other one."""
    opened = os.fstat(fd)
    try:
        named = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        # Published or removed between our open and our lock.
        return False
    if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
        return False
    if stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1:
        return True
    # A planted pipe, or a second name of an entry, which must not be written through this one.
    _remove_anything(name, folder_fd)
    return False


def _move(name: str, source: int, new: str, target: int) -> None:
    try:
        move_at(source, name, target, new)
    except OSError as error:
        if error.errno not in {errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST}:
            raise
        _remove_anything(new, target)
        move_at(source, name, target, new)


def _remove_anything(name: str, folder_fd: int) -> None:
    try:
        os.unlink(name, dir_fd=folder_fd)
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(name, dir_fd=folder_fd)
