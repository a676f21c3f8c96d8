"""The firmware's variables, as Linux shows them in efivarfs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/sys/firmware/efi/efivars")
GLOBAL: Final = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""The vendor of what the UEFI specification names itself."""
LOADER: Final = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""The vendor of the systemd Boot Loader Interface."""
ATTRIBUTES: Final = struct.pack("<I", 7)
"""Kept without power, for the loader's eyes and the system's."""
VOLATILE: Final = struct.pack("<I", 6)
"""Gone with the boot, for the loader's eyes and the system's."""
MAX_BYTES: Final = 4096
MAX_DIGESTED: Final = 1 << 20
"""Bytes of one variable; a revocation list (dbx) has tens of KiB."""
MAX_VARIABLES: Final = 4096
NON_VOLATILE: Final = 1
"""The attribute of a variable that outlives a loss of power (UEFI 2.10, section 8.2)."""
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
# efivarfs sets a variable by one write(2) in place, so the atomic writes of safefs do not apply.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class EfiVariables:
    """Variables by name and vendor. Every method raises OSError where the firmware refuses."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def writable(self) -> bool:
        """Tell whether there is a firmware that takes variables."""
        return self._folder.is_dir() and os.access(self._folder, os.W_OK)

    def read(self, name: str, vendor: str) -> bytes | None:
        """Return a value without its attributes, at most `MAX_BYTES` of it; None if not there."""
        raw = self._raw(name, vendor)
        return None if raw is None else raw[len(ATTRIBUTES) :]

    def read_volatile(self, name: str, vendor: str) -> bytes | None:
        """Return a value that ends with this boot; None if there is none.

        A program that ran on this machine before may have left a variable of the same name that
        is kept without power: that one says nothing about this boot.
        """
        raw = self._raw(name, vendor)
        return raw[len(ATTRIBUTES) :] if raw and raw.startswith(VOLATILE) else None

    def text(self, name: str, vendor: str) -> str | None:
        """Return a value that is UTF-16 with a NUL at its end; None if it is anything else."""
        return text_of(self.read(name, vendor))

    def write_text(self, name: str, vendor: str, value: str) -> None:
        """Set a value, in one write, and see that the firmware has it."""
        path = self._path(name, vendor)
        data = ATTRIBUTES + value.encode("utf-16-le") + b"\0\0"
        with _mutable(path):
            fd = os.open(path, _WRITE, 0o644)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError(errno.EIO, "the firmware took a part of the variable only")
            finally:
                os.close(fd)
        if self.text(name, vendor) != value:
            raise OSError(errno.EIO, "the firmware did not keep the variable")

    def remove(self, name: str, vendor: str) -> None:
        """Forget a variable; one that is not there is forgotten already."""
        path = self._path(name, vendor)
        with _mutable(path), contextlib.suppress(FileNotFoundError):
            path.unlink()

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each non-volatile variable with its attributes, by file name.

        A volatile one goes with the power: firmware and loader set those in every boot. One that
        cannot be read has the errno in place of a digest.
        """
        if not self._folder.is_dir():
            return {}
        found: dict[str, str] = {}
        for path in sorted(self._folder.iterdir()):
            if len(found) >= MAX_VARIABLES:
                raise OSError(errno.E2BIG, f"more than {MAX_VARIABLES} variables")
            with contextlib.suppress(FileNotFoundError):
                if (digest := _digest(path)) is not None:
                    found[path.name] = digest
        return found

    def _raw(self, name: str, vendor: str) -> bytes | None:
        try:
            fd = os.open(self._path(name, vendor), _READ)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb", buffering=0) as file:
            return file.read(MAX_BYTES + len(ATTRIBUTES)) or b""

    def _path(self, name: str, vendor: str) -> Path:
        return self._folder / f"{name}-{vendor}"


def _digest(path: Path) -> str | None:
    """Return the digest of a variable, or None of a volatile one."""
    try:
        fd = os.open(path, _READ)
        with os.fdopen(fd, "rb", buffering=0) as file:
            content = file.read(MAX_DIGESTED) or b""
    except FileNotFoundError:
        raise
    except OSError as error:
        return f"errno {error.errno}"
    attributes = int.from_bytes(content[: len(ATTRIBUTES)], "little")
    kept = len(content) < len(ATTRIBUTES) or attributes & NON_VOLATILE
    return hashlib.sha256(content).hexdigest() if kept else None


def text_of(raw: bytes | None) -> str | None:
    """Return a value that is UTF-16 with a NUL at its end; None if it is anything else."""
    if raw is None or not raw.endswith(b"\0\0"):
        return None
    try:
        return raw[:-2].decode("utf-16-le")
    except UnicodeDecodeError:
        return None


@contextlib.contextmanager
def _mutable(path: Path) -> Iterator[None]:
    """Take the flag off that keeps a variable from being removed by accident."""
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        yield
        return
    try:
        # Where the filesystem has no such flags there is nothing to take off.
        with contextlib.suppress(OSError):
            flags = struct.unpack("<I", fcntl.ioctl(fd, _GET_FLAGS, bytes(4)))[0]
            if flags & _IMMUTABLE:
                fcntl.ioctl(fd, _SET_FLAGS, struct.pack("<I", flags & ~_IMMUTABLE))
    finally:
        os.close(fd)
    yield
