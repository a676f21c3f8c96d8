"""A copy of a stick's image that a test boots, reads and edits.

mtools reads and writes the EFI system partition, debugfs the Cache partition. Nothing is mounted,
so root is not needed. The original image is never written to.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from image.lab.namespace import environment
from phase_boot.content.digest import Digest

ESP: Final = "phase-esp"
CACHE: Final = "phase-cache"
_SECTOR: Final = 512
_COUNT: Final = re.compile(r"(?m)^(Free blocks|Block size): +(\d+)$")
_LABEL: Final = re.compile(r"(?m)^default\b.*$")


class DiskImageError(RuntimeError):
    """The image is no valid stick, or a tool failed on it."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Offset and size of a partition, in bytes."""

    offset: int
    size: int


def partitions(image: Path) -> dict[str, Extent]:
    """Return the partitions of a GPT image by name.

    Raises:
        DiskImageError: the image has no GPT.
    """
    with image.open("rb") as disk:
        disk.seek(_SECTOR)
        header = disk.read(92)
        if header[:8] != b"EFI PART":
            raise DiskImageError(f"{image} has no GUID partition table.")
        table, count, width = struct.unpack_from("<QII", header, 72)
        disk.seek(table * _SECTOR)
        rows = disk.read(count * width)
    found: dict[str, Extent] = {}
    for at in range(0, len(rows), width):
        row = rows[at : at + width]
        first, last = struct.unpack_from("<QQ", row, 32)
        if any(row[:16]):
            name = row[56:128].decode("utf-16-le").rstrip("\0")
            found[name] = Extent(first * _SECTOR, (last - first + 1) * _SECTOR)
    return found


class DiskImage:
    """A stick in the writable file `path`.

    Every method raises DiskImageError when a partition, a file or a tool is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partitions = partitions(path)

    @classmethod
    def copy_of(cls, image: Path, path: Path) -> Self:
        """Make a sparse copy of `image` at `path`."""
        _tool(["cp", "--sparse=always", "--reflink=auto", str(image), str(path)])
        path.chmod(0o600)
        return cls(path)

    # -- EFI system partition ------------------------------------------------------------------

    def boot_entries(self) -> list[str]:
        """Return the file names of the boot loader's entries."""
        listing = self._mtools("mdir", "-b", self._esp("loader/entries")).decode()
        return sorted(line.rpartition("/")[2] for line in listing.splitlines() if line.strip())

    def select_entry(self, mode: str, *, cmdline: str = "", timeout: int = 0) -> None:
        """Make `mode` the default entry and append `cmdline` to its kernel command line.

        The boot loader starts it after `timeout` seconds.
        """
        matching = [
            name for name in self.boot_entries() if mode in name.removesuffix(".conf").split("-")
        ]
        if len(matching) != 1:
            raise DiskImageError(
                f"Not exactly one loader entry for {mode!r} among {self.boot_entries()}."
            )
        config = self.read_esp("loader/loader.conf").decode()
        kept = [line for line in config.splitlines() if line.split()[:1] not in _REPLACED]
        lines = [*kept, f"default {matching[0]}", f"timeout {timeout}"]
        self.write_esp("loader/loader.conf", "\n".join(lines).encode() + b"\n")
        if cmdline:
            entry = f"loader/entries/{matching[0]}"
            text = self.read_esp(entry).decode()
            self.write_esp(entry, _with_options(text, cmdline).encode())

    def boot_file(self, field: str) -> bytes:
        """Return the file that the first loader entry names in `field`: `linux` or `initrd`."""
        entry = self.read_esp(f"loader/entries/{self.boot_entries()[0]}").decode()
        fields = dict(line.split(maxsplit=1) for line in entry.splitlines() if " " in line.strip())
        if field not in fields:
            raise DiskImageError(f"The loader entry has no `{field}`:\n{entry}")
        return self.read_esp(fields[field].strip().lstrip("/"))

    def list_esp(self) -> set[str]:
        """Return the names in the root folder of the EFI system partition."""
        listing = self._mtools("mdir", "-b", self._esp("")).decode()
        return {line.strip(":/").rpartition("/")[2] for line in listing.splitlines() if line}

    def read_esp(self, name: str) -> bytes:
        """Return the content of a file on the EFI system partition."""
        return self._mtools("mtype", self._esp(name))

    def write_esp(self, name: str, content: bytes) -> None:
        """Create or replace a file on the EFI system partition."""
        source = self.path.with_suffix(".esp-file")
        source.write_bytes(content)
        self._mtools("mcopy", "-o", str(source), self._esp(name))
        source.unlink()

    # -- partitions ----------------------------------------------------------------------------

    def partition(self, name: str) -> bytes:
        """Return the content of a partition."""
        extent = self._extent(name)
        with self.path.open("rb") as disk:
            disk.seek(extent.offset)
            return disk.read(extent.size)

    def partition_size(self, name: str) -> int:
        """Return the size of a partition in bytes."""
        return self._extent(name).size

    def overwrite(self, name: str, at: int, content: bytes) -> None:
        """Write `content` into a partition, from its byte `at`."""
        extent = self._extent(name)
        if at + len(content) > extent.size:
            raise DiskImageError(f"{name} has {extent.size} bytes; {at + len(content)} do not fit.")
        with self.path.open("r+b") as disk:
            disk.seek(extent.offset + at)
            disk.write(content)

    def fill_cache(self, *, spare: int) -> None:
        """Fill the Cache partition with one file, except for `spare` bytes."""
        target = f"{self.path}?offset={self._extent(CACHE).offset}"
        output = _tool(["dumpe2fs", "-h", target]).decode()
        counts = dict(_COUNT.findall(output))
        blocks = int(counts["Free blocks"]) - spare // int(counts["Block size"])
        _tool(["debugfs", "-w", "-R", "write /dev/null full", target])
        _tool(["debugfs", "-w", "-R", f"fallocate full 0 {blocks - 1}", target])

    def copy_cache(self, work: Path) -> Cache:
        """Copy the Cache partition into the folder `work`."""
        copy = work / "cache.ext4"
        extent = self._extent(CACHE)
        with self.path.open("rb") as disk, copy.open("wb") as out:
            disk.seek(extent.offset)
            left = extent.size
            while left:
                block = disk.read(min(left, 1 << 20))
                out.seek(len(block), 1) if not any(block) else out.write(block)
                left -= len(block)
            out.truncate(extent.size)
        return Cache(copy)

    def _extent(self, name: str) -> Extent:
        if name not in self._partitions:
            raise DiskImageError(f"No partition {name!r} among {sorted(self._partitions)}.")
        return self._partitions[name]

    def _esp(self, name: str) -> str:
        return f"::/{name}"

    def _mtools(self, tool: str, *arguments: str) -> bytes:
        image = f"{self.path}@@{self._extent(ESP).offset}"
        return _tool([tool, "-i", image, *arguments])


_REPLACED: Final = (["default"], ["timeout"])


def _with_options(entry: str, cmdline: str) -> str:
    lines = entry.splitlines()
    for number, line in enumerate(lines):
        if line.split()[:1] == ["options"]:
            lines[number] = f"{line} {cmdline}"
            break
    else:
        lines.append(f"options {cmdline}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Cache:
    """A copy of a Cache partition; where e2fsck or debugfs fails, DiskImageError is raised."""

    path: Path

    def check(self) -> str:
        """Replay the journal as a mount does, check the file system, and return e2fsck's output.

        Raises:
            DiskImageError: the file system is damaged.
        """
        _tool(["e2fsck", "-fp", str(self.path)], accept=(0, 1))
        return _tool(["e2fsck", "-fn", str(self.path)]).decode()

    def list(self, folder: str) -> list[str]:
        """Return the names in `folder`; none when it does not exist."""
        listing = _tool(["debugfs", "-R", f"ls -p {folder}", str(self.path)]).decode()
        rows = [line.split("/") for line in listing.splitlines() if line.startswith("/")]
        return sorted(row[5] for row in rows if row[5] not in (".", "..") and row[1] != "0")

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return _tool(["debugfs", "-R", f"cat {name}", str(self.path)])

    def artifacts(self) -> dict[str, Digest]:
        """Return the content's digest of each published artifact, by file name."""
        folder = "/cas/sha256"
        return {name: Digest.of(self.read(f"{folder}/{name}")) for name in self.list(folder)}

    def trust_files(self) -> dict[str, bytes]:
        """Return the stick's trust state by file name: its roots, and the versions it has seen."""
        return {name: self.read(f"/trust/{name}") for name in self.list("/trust")}


def _tool(argv: Sequence[str], *, accept: Sequence[int] = (0,)) -> bytes:
    variables = environment()
    program = shutil.which(argv[0], path=variables["PATH"])
    if program is None:
        raise DiskImageError(f"`{argv[0]}` is missing; install it by `make setup`.")
    done = subprocess.run(
        [program, *argv[1:]],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**variables, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"},
    )
    if done.returncode not in accept:
        output = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise DiskImageError(f"`{' '.join(argv)}` ended with {done.returncode}: {output}")
    return done.stdout
