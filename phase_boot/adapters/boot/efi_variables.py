"""Reads and writes EFI variables in efivarfs."""

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

from phase_boot.firmware.load_option import MAX_VARIABLE

FOLDER: Final = Path("/sys/firmware/efi/efivars")
GLOBAL: Final = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""Vendor GUID of the variables that the UEFI specification defines."""
LOADER: Final = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""Vendor GUID of the systemd Boot Loader Interface."""
ATTRIBUTES: Final = struct.pack("<I", 7)
"""NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS."""
VOLATILE: Final = struct.pack("<I", 6)
"""BOOTSERVICE_ACCESS and RUNTIME_ACCESS."""
MAX_DIGESTED: Final = 1 << 20
"""Bytes of a variable, at most; a revocation list (dbx) has tens of KiB."""
MAX_VARIABLES: Final = 4096
NON_VOLATILE: Final = 1
"""Attribute EFI_VARIABLE_NON_VOLATILE (UEFI 2.10, section 8.2)."""
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
# efivarfs sets a variable by one write(2) in place, so the atomic writes of safefs do not apply.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class EfiVariables:
    """EFI variables by name and vendor. Methods raise OSError if the firmware refuses."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def writable(self) -> bool:
        """Return whether variables can be written."""
        return self._folder.is_dir() and os.access(self._folder, os.W_OK)

    def read(self, name: str, vendor: str) -> bytes | None:
        """Return a value without attributes, at most `MAX_VARIABLE`; None if missing."""
        raw = self._raw(name, vendor)
        return None if raw is None else raw[len(ATTRIBUTES) :]

    def read_volatile(self, name: str, vendor: str) -> bytes | None:
        """Return the value of a volatile variable; None if missing.

        A non-volatile variable of the same name may come from an earlier boot, so it counts as
        missing.
        """
        raw = self._raw(name, vendor)
        return raw[len(ATTRIBUTES) :] if raw and raw.startswith(VOLATILE) else None

    def text(self, name: str, vendor: str) -> str | None:
        """Return a NUL-terminated UTF-16 value; None if missing or of another form."""
        return text_of(self.read(name, vendor))

    def write_text(self, name: str, vendor: str, value: str) -> None:
        """Set a value in one write, and read it back."""
        path = self._path(name, vendor)
        data = ATTRIBUTES + value.encode("utf-16-le") + b"\0\0"
        with _mutable(path):
            fd = os.open(path, _WRITE, 0o644)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError(errno.EIO, "the firmware wrote only a part of the variable")
            finally:
                os.close(fd)
        if self.text(name, vendor) != value:
            raise OSError(errno.EIO, "the firmware did not keep the variable")

    def remove(self, name: str, vendor: str) -> None:
        """Delete a variable, if it exists."""
        path = self._path(name, vendor)
        with _mutable(path), contextlib.suppress(FileNotFoundError):
            path.unlink()

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each non-volatile variable with its attributes, by file name.

        Volatile ones are left out: firmware and loader set them in every boot. An unreadable one
        has its errno in place of the digest.
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
            return file.read(MAX_VARIABLE + len(ATTRIBUTES)) or b""

    def _path(self, name: str, vendor: str) -> Path:
        return self._folder / f"{name}-{vendor}"


def _digest(path: Path) -> str | None:
    """Return the digest of a variable; None for a volatile one."""
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
    """Return a NUL-terminated UTF-16 value; None if missing or of another form."""
    if raw is None or not raw.endswith(b"\0\0"):
        return None
    try:
        return raw[:-2].decode("utf-16-le")
    except UnicodeDecodeError:
        return None


@contextlib.contextmanager
def _mutable(path: Path) -> Iterator[None]:
    """Clear the immutable flag, with which efivarfs prevents accidental removal."""
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        yield
        return
    try:
        # A filesystem without this flag needs no change.
        with contextlib.suppress(OSError):
            flags = struct.unpack("<I", fcntl.ioctl(fd, _GET_FLAGS, bytes(4)))[0]
            if flags & _IMMUTABLE:
                fcntl.ioctl(fd, _SET_FLAGS, struct.pack("<I", flags & ~_IMMUTABLE))
    finally:
        os.close(fd)
    yield
