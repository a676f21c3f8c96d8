"""A disk of the store in memory: memfds by name, with a capacity and locks."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from phase_boot.store.disk import Disk, FileInfo, Folder
from phase_boot.store.errors import DiskFailed, store_errors


@dataclass
class _File:
    """A file, which lives as long as it has a name or an open descriptor, as in Unix."""

    fd: int
    used: int = 0
    growing: int | None = None
    plain: bool = True
    readers: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        weakref.finalize(self, os.close, self.fd)

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def reopened(self, flags: int) -> int:
        return os.open(f"/proc/self/fd/{self.fd}", flags | os.O_CLOEXEC)

    def is_open(self, fd: int | None) -> bool:
        """Say whether the caller still holds the descriptor open."""
        try:
            return fd is not None and os.path.sameopenfile(fd, self.fd)
        except OSError:
            return False


class MemoryDisk:
    """Implements `Disk` with ``capacity`` bytes; ``read_only`` refuses every change."""

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.capacity = capacity
        self.read_only = False
        self.unreserving = False
        """Whether it cannot allocate space in advance."""
        self.added: dict[str, bytes] = {}
        """Entries that a scenario added."""
        self._files: dict[tuple[Folder, str], _File] = {}
        self._ticks = itertools.count(1)
        self._lock = threading.RLock()

    def items(self, folder: Folder) -> tuple[FileInfo, ...]:
        with self._lock:
            return tuple(
                FileInfo(folder, name, file.size, file.used)
                for (place, name), file in self._files.items()
                if place is folder
            )

    def open(self, folder: Folder, name: str) -> int:
        with self._operation(f"open {folder}/{name}"):
            file = self._file(folder, name)
            if not file.plain:
                raise DiskFailed(f"{folder}/{name} is not a plain file.")
            if not self.read_only:
                file.used = next(self._ticks)
            file.readers.append(file.reopened(os.O_RDONLY))
            return file.readers[-1]

    def open_partial(self, name: str) -> int:
        with self._change(f"write {name}"):
            file = self._files.get((Folder.PARTIALS, name)) or _File(os.memfd_create(name))
            if file.is_open(file.growing):
                raise OSError(errno.EAGAIN, "locked")
            self._files[Folder.PARTIALS, name] = file
            file.growing = file.reopened(os.O_RDWR)
            os.lseek(file.growing, 0, os.SEEK_END)
            return file.growing

    def write(self, fd: int, data: memoryview) -> int:
        with self._change("write to the store"):
            room = self.free_space()
            if data and not room:
                raise OSError(errno.ENOSPC, "full")
            for file in self._files.values():
                if file.growing == fd and file.is_open(fd):
                    file.used = next(self._ticks)
            return os.write(fd, data[:room])

    def reserve(self, fd: int, size: int) -> None:
        with self._change("reserve room in the store"):
            if self.unreserving:
                return
            if size - os.fstat(fd).st_size > self.free_space():
                raise OSError(errno.ENOSPC, "full")
            os.posix_fallocate(fd, 0, size)

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        with self._change("write to the store"):
            size = os.fstat(fd).st_size
            most = size + self.free_space() - offset
            if data and most <= 0:
                raise OSError(errno.ENOSPC, "full")
            return os.pwrite(fd, data[:most], offset)

    def copy(self, start: int, source: int, length: int, fd: int, offset: int) -> int:
        with self._change("copy within the store"):
            data = os.pread(source, min(length, 1 << 16), start)
            return self.write_at(fd, memoryview(data), offset)

    def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
        with self._change(f"publish {entry}"):
            os.fsync(fd)
            file = self._file(Folder.PARTIALS, name)
            file.growing = None
            self._files[folder, entry] = self._files.pop((Folder.PARTIALS, name))

    def quarantine(self, name: str) -> None:
        with self._change(f"set {name} aside"):
            self._file(Folder.ENTRIES, name)
            self._files[Folder.CORRUPT, name] = self._files.pop((Folder.ENTRIES, name))

    def remove(self, folder: Folder, name: str) -> None:
        with self._change(f"remove {folder}/{name}"):
            file = self._file(folder, name)
            if file.is_open(file.growing) or any(map(file.is_open, file.readers)):
                raise OSError(errno.EAGAIN, "locked")
            del self._files[folder, name]

    def free_space(self) -> int:
        with self._lock:
            return max(0, self.capacity - sum(file.size for file in self._files.values()))

    def descriptors(self) -> set[int]:
        """Return the descriptors that keep the files alive; callers get others."""
        return {file.fd for file in self._files.values()}

    def content(self, folder: Folder, name: str) -> bytes:
        """Return the content of a file without marking it as used."""
        file = self._files[folder, name]
        return os.pread(file.fd, file.size, 0)

    def add_file(self, folder: Folder, name: str, data: bytes, *, plain: bool = True) -> None:
        """Add a file that no store wrote; without ``plain`` it stands for a link or a pipe."""
        file = _File(os.memfd_create(name), used=next(self._ticks), plain=plain)
        os.write(file.fd, data)
        self._files[folder, name] = file
        if folder is Folder.ENTRIES:
            self.added[name] = data

    def _file(self, folder: Folder, name: str) -> _File:
        if (folder, name) not in self._files:
            raise OSError(errno.ENOENT, "no such file")
        return self._files[folder, name]

    @contextmanager
    def _operation(self, what: str) -> Iterator[None]:
        with self._lock, store_errors(what):
            yield

    @contextmanager
    def _change(self, what: str) -> Iterator[None]:
        with self._operation(what):
            if self.read_only:
                raise OSError(errno.EROFS, "read-only")
            yield


_: type[Disk] = MemoryDisk
