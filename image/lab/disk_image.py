"""A stick of one's own: a copy of an image that a test may boot from, edit and look into.

Only reads and edits what a person could with mtools and debugfs; nothing is mounted, so it works
without root. The image itself is never written to.
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

from image.lab.network import environment
from phase_boot.content.digest import Digest

ESP: Final = "phase-esp"
CACHE: Final = "phase-cache"
_SECTOR: Final = 512
_COUNT: Final = re.compile(r"(?m)^(Free blocks|Block size): +(\d+)$")
_LABEL: Final = re.compile(r"(?m)^default\b.*$")


class StickError(RuntimeError):
    """The image is not what a stick should be, or a tool that looks into it failed."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a partition lies, in bytes."""

    offset: int
    size: int


def partitions(image: Path) -> dict[str, Extent]:
    """The partitions of a GPT image by their names.

    Raises StickError when there is no GPT.
    """
    with image.open("rb") as disk:
        disk.seek(_SECTOR)
        header = disk.read(92)
        if header[:8] != b"EFI PART":
            raise StickError(f"{image} has no GUID partition table.")
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
    """The stick in the file `path`, which may be written to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partitions = partitions(path)

    @classmethod
    def copied(cls, image: Path, path: Path) -> Self:
        """A sparse copy of `image` at `path`."""
        _tool(["cp", "--sparse=always", "--reflink=auto", str(image), str(path)])
        path.chmod(0o600)
        return cls(path)

    # -- what the firmware reads ---------------------------------------------------------------

    def entries(self) -> list[str]:
        """The names of the loader's entries, with `.conf`."""
        listing = self._mtools("mdir", "-b", self._esp("loader/entries")).decode()
        return sorted(line.rpartition("/")[2] for line in listing.splitlines() if line.strip())

    def choose(self, mode: str, *, cmdline: str = "", timeout: int = 0) -> None:
        """Boot `mode` after `timeout` seconds, with `cmdline` appended to its entry's options."""
        fitting = [name for name in self.entries() if mode in name.removesuffix(".conf").split("-")]
        if len(fitting) != 1:
            raise StickError(f"No one loader entry for {mode!r} among {self.entries()}.")
        config = self.read_esp("loader/loader.conf").decode()
        kept = [line for line in config.splitlines() if line.split()[:1] not in _CHOSEN]
        lines = [*kept, f"default {fitting[0]}", f"timeout {timeout}"]
        self.write_esp("loader/loader.conf", "\n".join(lines).encode() + b"\n")
        if cmdline:
            entry = f"loader/entries/{fitting[0]}"
            text = self.read_esp(entry).decode()
            self.write_esp(entry, _with_options(text, cmdline).encode())

    def boot_file(self, field: str) -> bytes:
        """The file that the first loader entry names in `field`: `linux` or `initrd`."""
        entry = self.read_esp(f"loader/entries/{self.entries()[0]}").decode()
        fields = dict(line.split(maxsplit=1) for line in entry.splitlines() if " " in line.strip())
        if field not in fields:
            raise StickError(f"The loader entry names no `{field}`:\n{entry}")
        return self.read_esp(fields[field].strip().lstrip("/"))

    def esp_names(self) -> set[str]:
        """What lies at the root of the EFI system partition."""
        listing = self._mtools("mdir", "-b", self._esp("")).decode()
        return {line.strip(":/").rpartition("/")[2] for line in listing.splitlines() if line}

    def read_esp(self, name: str) -> bytes:
        """A file of the EFI system partition."""
        return self._mtools("mtype", self._esp(name))

    def write_esp(self, name: str, content: bytes) -> None:
        """Replace a file of the EFI system partition, or make it."""
        fresh = self.path.with_suffix(".esp-file")
        fresh.write_bytes(content)
        self._mtools("mcopy", "-o", str(fresh), self._esp(name))
        fresh.unlink()

    # -- what the boot left behind -------------------------------------------------------------

    def partition(self, name: str) -> bytes:
        """The bytes of a partition, as they are on the stick now."""
        extent = self._extent(name)
        with self.path.open("rb") as disk:
            disk.seek(extent.offset)
            return disk.read(extent.size)

    def size(self, name: str) -> int:
        """The bytes that a partition has."""
        return self._extent(name).size

    def overwrite(self, name: str, at: int, content: bytes) -> None:
        """Put bytes into a partition, whatever is there."""
        extent = self._extent(name)
        if at + len(content) > extent.size:
            raise StickError(f"{name} has {extent.size} bytes; {at + len(content)} do not fit.")
        with self.path.open("r+b") as disk:
            disk.seek(extent.offset + at)
            disk.write(content)

    def fill_cache(self, *, spare: int) -> None:
        """Let a file take all of Cache but `spare` bytes."""
        where = f"{self.path}?offset={self._extent(CACHE).offset}"
        counted = _tool(["dumpe2fs", "-h", where]).decode()
        counts = dict(_COUNT.findall(counted))
        blocks = int(counts["Free blocks"]) - spare // int(counts["Block size"])
        _tool(["debugfs", "-w", "-R", "write /dev/null full", where])
        _tool(["debugfs", "-w", "-R", f"fallocate full 0 {blocks - 1}", where])

    def cache(self, work: Path) -> Cache:
        """The Cache partition, copied out into `work` to be looked into."""
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
            raise StickError(f"No partition {name!r} among {sorted(self._partitions)}.")
        return self._partitions[name]

    def _esp(self, name: str) -> str:
        return f"::/{name}"

    def _mtools(self, tool: str, *arguments: str) -> bytes:
        where = f"{self.path}@@{self._extent(ESP).offset}"
        return _tool([tool, "-i", where, *arguments])


_CHOSEN: Final = (["default"], ["timeout"])


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
    """A copy of a Cache partition; asked by e2fsck and debugfs, never mounted."""

    path: Path

    def check(self) -> str:
        """Replay the journal as a mount would, then have e2fsck judge; what it says is returned.

        Raises StickError when the file system is damaged.
        """
        _tool(["e2fsck", "-fp", str(self.path)], fine=(0, 1))
        return _tool(["e2fsck", "-fn", str(self.path)]).decode()

    def names(self, folder: str) -> list[str]:
        """The names in `folder`; none when it does not exist."""
        listing = _tool(["debugfs", "-R", f"ls -p {folder}", str(self.path)]).decode()
        rows = [line.split("/") for line in listing.splitlines() if line.startswith("/")]
        return sorted(row[5] for row in rows if row[5] not in (".", "..") and row[1] != "0")

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return _tool(["debugfs", "-R", f"cat {name}", str(self.path)])

    def artifacts(self) -> dict[str, Digest]:
        """What each published artifact of the store says it is, and the digest of what it holds."""
        folder = "/cas/sha256"
        return {name: Digest.of(self.read(f"{folder}/{name}")) for name in self.names(folder)}

    def notes(self) -> dict[str, bytes]:
        """What the stick wrote down between boots: its roots and the versions seen, by name."""
        return {name: self.read(f"/trust/{name}") for name in self.names("/trust")}


def _tool(argv: Sequence[str], *, fine: Sequence[int] = (0,)) -> bytes:
    paths = environment()
    program = shutil.which(argv[0], path=paths["PATH"])
    if program is None:
        raise StickError(f"`{argv[0]}` is not here; `make setup` installs it.")
    done = subprocess.run(
        [program, *argv[1:]],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**paths, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"},
    )
    if done.returncode not in fine:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise StickError(f"`{' '.join(argv)}` ended with {done.returncode}: {said}")
    return done.stdout
