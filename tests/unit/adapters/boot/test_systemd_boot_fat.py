"""Staging on a real FAT filesystem, which is carried out and in again by mtools instead of mounted.

A boot under QEMU mounts it (tests/e2e/test_handoff.py); this shows without one that every name and
byte survives the format.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from phase_boot.adapters.boot.efi_variables import EfiVariables
from phase_boot.adapters.boot.fat_lookup import certainly_lacks
from phase_boot.adapters.boot.staging import FOLDER
from phase_boot.adapters.boot.systemd_boot import SystemdBootLoader
from tests.support.boot_payloads import KERNEL, payload
from tests.support.loader_partition import Stick

TOOLS = ("mkfs.vfat", "mcopy", "mdeltree", "mdir")
pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS),
    reason="dosfstools and mtools are not installed",
)


class FatEsp:
    """Implements `adapters.esp.Esp` on the image of a FAT filesystem."""

    def __init__(self, image: Path, seed: Path) -> None:
        self.image = image
        with image.open("wb") as file:
            file.truncate(40 << 20)
        run("mkfs.vfat", "-F", "32", "-n", "PHASE-ESP", str(image))
        self._carry_in(seed)

    def obstacle(self) -> str | None:
        return None

    def certainly_lacks(self, name: str) -> bool:
        data = self.image.read_bytes()
        return certainly_lacks(lambda offset, size: data[offset : offset + size], name)

    @contextlib.asynccontextmanager
    async def mounted(self, *, writable: bool = False) -> AsyncIterator[Path | None]:
        place = self.image.with_suffix(".mounted")
        place.mkdir()
        run("mcopy", "-s", "-Q", "-i", str(self.image), "::/*", str(place))
        yield place
        if writable:
            for top in self.names():
                run("mdeltree", "-i", str(self.image), f"::/{top}")
            self._carry_in(place)
        shutil.rmtree(place)

    def names(self) -> set[str]:
        listing = run("mdir", "-b", "-i", str(self.image), "::/")
        return {line.strip("/:") for line in listing.splitlines()}

    def read(self, path: str) -> bytes:
        return subprocess.run(
            ["mtype", "-i", self.image, f"::/{path}"], check=True, capture_output=True
        ).stdout

    def _carry_in(self, folder: Path) -> None:
        tops = [str(path) for path in sorted(folder.iterdir())]
        run("mcopy", "-s", "-Q", "-o", "-i", str(self.image), *tops, "::/")


def run(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
    return done.stdout


async def test_files_staged_on_fat_keep_their_names_and_bytes(tmp_path: Path) -> None:
    stick = Stick(tmp_path)
    esp = FatEsp(tmp_path / "esp.fat", stick.esp.root)
    loader = SystemdBootLoader(esp, EfiVariables(stick.efivars))
    assert esp.certainly_lacks(FOLDER)
    name = await loader.stage(payload())
    assert not esp.certainly_lacks(FOLDER)
    entry = esp.read(f"loader/entries/{name}").decode()
    linux = next(line.split()[1] for line in entry.splitlines() if line.startswith("linux "))
    assert esp.read(linux.lstrip("/")) == KERNEL
    assert stick.one_shot is not None
    assert await loader.unstage() == 3
    assert esp.names() == {"loader", "phase"}
    assert esp.certainly_lacks(FOLDER)
    assert stick.one_shot is None
