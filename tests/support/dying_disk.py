"""A disk whose power is cut after a number of calls."""

from __future__ import annotations

from phase_boot.store.disk import Disk, FileInfo, Folder


class PowerCut(BaseException):
    """The power is cut; no code catches this."""


class DyingDisk:
    """Forwards ``calls`` calls, then raises PowerCut."""

    def __init__(self, disk: Disk, calls: int) -> None:
        self._disk = disk
        self._left = calls

    def _alive(self) -> Disk:
        if self._left == 0:
            raise PowerCut
        self._left -= 1
        return self._disk

    def items(self, folder: Folder) -> tuple[FileInfo, ...]:
        return self._alive().items(folder)

    def open(self, folder: Folder, name: str) -> int:
        return self._alive().open(folder, name)

    def open_partial(self, name: str) -> int:
        return self._alive().open_partial(name)

    def write(self, fd: int, data: memoryview) -> int:
        return self._alive().write(fd, data[:1000])

    def reserve(self, fd: int, size: int) -> None:
        self._alive().reserve(fd, size)

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        return self._alive().write_at(fd, data[:1000], offset)

    def copy(self, start: int, source: int, length: int, fd: int, offset: int) -> int:
        return self._alive().copy(start, source, min(length, 1000), fd, offset)

    def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
        self._alive().publish(fd, name, entry, folder)

    def quarantine(self, name: str) -> None:
        self._alive().quarantine(name)

    def remove(self, folder: Folder, name: str) -> None:
        self._alive().remove(folder, name)

    def free_space(self) -> int:
        return self._alive().free_space()
