"""EFI variables: written in one call, in the loader's format, and read back."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.adapters.boot.efi_variables import LOADER, EfiVariables
from phase_boot.firmware.load_option import MAX_VARIABLE

NAME = "LoaderEntryOneShot"
_GET, _SET, _IMMUTABLE = 0x80086601, 0x40086602, 0x10


def path(folder: Path) -> Path:
    return folder / f"{NAME}-{LOADER}"


def test_a_text_is_utf16_with_its_end_behind_seven_for_attributes(tmp_path: Path) -> None:
    variables = EfiVariables(tmp_path)
    variables.write_text(NAME, LOADER, "a.conf")
    assert path(tmp_path).read_bytes() == b"\7\0\0\0a\0.\0c\0o\0n\0f\0\0\0"
    assert variables.text(NAME, LOADER) == "a.conf"


def test_a_shorter_text_leaves_nothing_of_a_longer_one_behind(tmp_path: Path) -> None:
    variables = EfiVariables(tmp_path)
    variables.write_text(NAME, LOADER, "much-longer.conf")
    variables.remove(NAME, LOADER)
    variables.write_text(NAME, LOADER, "a.conf")
    assert variables.text(NAME, LOADER) == "a.conf"


def test_a_missing_variable_is_none_and_can_be_removed(tmp_path: Path) -> None:
    variables = EfiVariables(tmp_path)
    assert variables.read(NAME, LOADER) is None
    assert variables.text(NAME, LOADER) is None
    variables.remove(NAME, LOADER)


def test_a_huge_value_is_read_in_part_only(tmp_path: Path) -> None:
    path(tmp_path).write_bytes(bytes(1 << 20))
    found = EfiVariables(tmp_path).read(NAME, LOADER)
    assert found is not None
    assert len(found) == MAX_VARIABLE


def test_a_machine_without_such_firmware_takes_no_variables(tmp_path: Path) -> None:
    assert not EfiVariables(tmp_path / "none").writable()
    assert EfiVariables(tmp_path).writable()


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[Path]:
    """A variable that the system keeps from being changed by accident, as efivarfs does."""
    file = path(tmp_path)
    file.write_bytes(b"\7\0\0\0x\0\0\0")
    fd = os.open(file, os.O_RDONLY)
    try:
        flags = struct.unpack("<I", fcntl.ioctl(fd, _GET, bytes(4)))[0]
        fcntl.ioctl(fd, _SET, struct.pack("<I", flags | _IMMUTABLE))
    except OSError as error:
        pytest.skip(f"this filesystem has no such flag for us: {errno.errorcode[error.errno or 0]}")
    finally:
        os.close(fd)
    yield tmp_path
    if file.exists():
        fd = os.open(file, os.O_RDONLY)
        fcntl.ioctl(fd, _SET, struct.pack("<I", flags))
        os.close(fd)


def test_the_immutable_flag_is_cleared_to_write(immutable: Path) -> None:
    with pytest.raises(PermissionError):
        path(immutable).write_bytes(b"")
    EfiVariables(immutable).write_text(NAME, LOADER, "x")
    assert EfiVariables(immutable).text(NAME, LOADER) == "x"


def test_the_immutable_flag_is_cleared_to_remove(immutable: Path) -> None:
    EfiVariables(immutable).remove(NAME, LOADER)
    assert not path(immutable).exists()
