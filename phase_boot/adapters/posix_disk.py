"""The store's disk as folders of a real filesystem."""

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

from phase_boot.store.disk import FileInfo, Folder
from phase_boot.store.errors import DiskFailed, store_errors

# A name may be a link, a pipe or a device by somebody's malice: never follow, never hang.
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TRIES: Final = 8
_BLOCK: Final = 4096
"""Bytes of what two files can share on a filesystem that lets them."""
_BUFFER: Final = 1 << 18
_STRETCH: Final = 1 << 23
"""Bytes whose way to the disk begins when the last of them is written."""
# What a kernel, a filesystem or a filter of system calls says that will not copy by itself.
_UNABLE: Final = frozenset((errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM))


class PosixDisk:
    """``Disk`` in a directory, which is created by the first write.

    No descriptor stays open between calls, so the filesystem can be unmounted.
    """

    def __init__(self, root: Path) -> None:
        """Take the directory that holds (or will hold) ``sha256``, ``tmp`` and ``corrupt``."""
        self._root = root

    def items(self, folder: Folder) -> tuple[FileInfo, ...]:
        """List a folder; one that does not exist yet is empty."""
        with store_errors(f"list {folder}"):
            try:
                with self._opened(folder) as place:
                    return tuple(self._items(folder, place))
            except FileNotFoundError:
                return ()

    def open(self, folder: Folder, name: str) -> int:
        """Return a read-only descriptor of a plain file, never through a link; counts as a use."""
        with store_errors(f"open {folder}/{name}"), self._opened(folder) as place:
            if not _is_plain(name, place):
                raise DiskFailed(f"{folder}/{name} is not a plain file.")
            fd = os.open(name, os.O_RDONLY | _SAFE, dir_fd=place)
            try:
                return _in_use(fd)
            except BaseException:
                os.close(fd)
                raise

    def open_partial(self, name: str) -> int:
        """Return a descriptor of a partial file, created if need be, positioned at its end."""
        with (
            store_errors(f"write {Folder.PARTIALS}/{name}"),
            self._opened(Folder.PARTIALS, create=True) as place,
        ):
            for _ in range(_TRIES):
                fd = _grown(name, place)
                if fd is not None:
                    return fd
        raise DiskFailed(f"{Folder.PARTIALS}/{name} keeps changing under our hands.")

    def write(self, fd: int, data: memoryview) -> int:
        """Append ``data`` to a growing file and return how many bytes were taken."""
        with store_errors("write to the store"):
            return os.write(fd, data)

    def reserve(self, fd: int, size: int) -> None:
        """Make a growing file ``size`` bytes long and set room aside, where that can be done."""
        with store_errors("reserve room in the store"):
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError as error:
                if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                    raise

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        """Put ``data`` into a growing file at ``offset`` and return how many bytes were taken."""
        with store_errors("write to the store"):
            taken = os.pwrite(fd, data, offset)
            _begin_to_flush(fd, offset, offset + taken)
            return taken

    def copy(self, start: int, source: int, length: int, fd: int, offset: int) -> int:
        """Put bytes of an open file into a growing one, or let them share these; return how many.

        Only whole blocks can be shared: the bytes before the first are a copy of their own.
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
            # Some filesystems say 0 where they mean that they cannot.
            return os.pwrite(fd, os.pread(source, min(length, _BUFFER), start), offset)

    def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
        """Make the partial file ``name``, open as ``fd``, the entry ``entry``, durably."""
        with (
            store_errors(f"publish {entry}"),
            self._opened(Folder.PARTIALS) as source,
            self._opened(folder, create=True) as target,
        ):
            os.fchmod(fd, 0o444)
            os.fsync(fd)
            _move(name, source, entry, target)

    def quarantine(self, name: str) -> None:
        """Move the entry ``name`` among the corrupt ones, whatever it is."""
        with (
            store_errors(f"set {name} aside"),
            self._opened(Folder.ENTRIES) as source,
            self._opened(Folder.CORRUPT, create=True) as target,
        ):
            _move(name, source, name, target)

    def remove(self, folder: Folder, name: str) -> None:
        """Remove a file, whatever it is, unless somebody has it open."""
        with store_errors(f"remove {folder}/{name}"), self._opened(folder) as place:
            if not _is_plain(name, place):
                _remove_anything(name, place)
                return
            fd = os.open(name, os.O_RDONLY | _SAFE, dir_fd=place)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=place)
            finally:
                os.close(fd)

    def free_space(self) -> int:
        """Return how many bytes can still be written."""
        with store_errors("ask for the free space of the store"):
            place = self._root
            while not place.exists() and place != place.parent:
                place = place.parent
            free = os.statvfs(place)
            return free.f_bavail * free.f_frsize

    @contextmanager
    def _opened(self, folder: Folder, *, create: bool = False) -> Iterator[int]:
        """Open a folder, which may not be a link; the root may, since whoever runs us named it."""
        if create:
            self._root.mkdir(parents=True, exist_ok=True)
        root = os.open(self._root, _DIRECTORY)
        try:
            if create:
                _make_folder(folder, root)
            place = os.open(folder, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        finally:
            os.close(root)
        try:
            yield place
        finally:
            os.close(place)

    @staticmethod
    def _items(folder: Folder, place: int) -> Iterator[FileInfo]:
        with os.scandir(place) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield FileInfo(folder, entry.name, found.st_size, found.st_mtime_ns)


def _begin_to_flush(fd: int, start: int, end: int) -> None:
    """Let the kernel write out whole stretches as they are left, so that little waits for the end.

    It begins and does not wait. The same call drops what is on the disk already; that is nothing
    here, as each stretch is named once, when its last byte comes.
    """
    first, after = start // _STRETCH * _STRETCH, end // _STRETCH * _STRETCH
    # A disk that will not hear of it is flushed at the end.
    with contextlib.suppress(OSError):
        if first < after:
            os.posix_fadvise(fd, first, after - first, os.POSIX_FADV_DONTNEED)


def _up_to_a_block(start: int, offset: int, length: int) -> int:
    """Return how much to copy first: to the next block, if both places come to one there."""
    past = offset % _BLOCK
    aligned = past and start % _BLOCK == past
    return min(length, _BLOCK - past) if aligned else length


def _make_folder(folder: Folder, root: int) -> None:
    try:
        os.mkdir(folder, 0o755, dir_fd=root)
    except FileExistsError:
        return
    os.fsync(root)


def _is_plain(name: str, place: int) -> bool:
    """Say whether a name is a regular file, without opening it: opening a device may do things."""
    return stat.S_ISREG(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)


def _in_use(fd: int) -> int:
    """Mark an open file as used, now and as long as it is open."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file")
    # On a read-only disk, or of somebody else's file, it only looks older than it is.
    with contextlib.suppress(OSError):
        os.utime(fd)
    # Whoever holds it exclusively is publishing it this moment, or removing it: both leave us
    # with the bytes that this descriptor has.
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return fd


def _grown(name: str, place: int) -> int | None:
    """Open and lock a partial file; None if something else stood there and was removed."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | _SAFE, 0o600, dir_fd=place)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise
        _remove_anything(name, place)
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_ours_alone(fd, name, place):
            os.lseek(fd, 0, os.SEEK_END)
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _is_ours_alone(fd: int, name: str, place: int) -> bool:
    """Say whether the locked file is still the one of that name, and nothing but a partial file."""
    opened = os.fstat(fd)
    try:
        named = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        # Published or removed between our open and our lock.
        return False
    if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
        return False
    if stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1:
        return True
    # By malice a pipe, or a second name of an entry, which must not be written to through this one.
    _remove_anything(name, place)
    return False


def _move(name: str, source: int, new: str, target: int) -> None:
    try:
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno not in {errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST}:
            raise
        _remove_anything(new, target)
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    os.fsync(target)
    os.fsync(source)


def _remove_anything(name: str, place: int) -> None:
    try:
        os.unlink(name, dir_fd=place)
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(name, dir_fd=place)
