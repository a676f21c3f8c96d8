"""A stick's loader partition and EFI variables as folders that can fail."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from phase_boot.adapters.boot.efi_variables import LOADER, EfiVariables
from phase_boot.adapters.boot.esp import EspFailed
from phase_boot.adapters.boot.systemd_boot import FEATURES, ONE_SHOT, SystemdBootLoader

LOADER_CONF = "timeout 3\ndefault phase-internet.conf\n"


class FolderEsp:
    """Implements `Esp` on a folder, which a test may change between two mounts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts: list[bool] = []
        """For each mount, whether it was writable."""
        self.protected: str | None = None
        self.there = True
        self.sure = False
        """Whether absent files are known without a mount."""
        self.unmounted: Callable[[int], None] = lambda _number: None
        """By the number of a mount, from 1: a change of the disk after it."""

    def obstacle(self) -> str | None:
        return self.protected

    def certainly_lacks(self, name: str) -> bool:
        return self.sure and not (self.root / name).exists()

    @contextlib.asynccontextmanager
    async def mounted(self, *, writable: bool = False) -> AsyncIterator[Path | None]:
        if not self.there:
            yield None
            return
        if self.protected and writable:
            raise EspFailed(self.protected)
        self.mounts.append(writable)
        number = len(self.mounts)
        try:
            yield self.root
        finally:
            self.unmounted(number)


class Stick:
    """A stick with the seed's files, in a machine with systemd-boot's variables."""

    def __init__(self, folder: Path) -> None:
        self.esp = FolderEsp(folder / "esp")
        self.efivars = folder / "efivars"
        self.reboots = folder / "reboots"
        entries = self.esp.root / "loader" / "entries"
        entries.mkdir(parents=True)
        (self.esp.root / "loader" / "loader.conf").write_text(LOADER_CONF)
        (entries / "phase-internet.conf").write_text("title Internet\n")
        (self.esp.root / "phase").mkdir()
        (self.esp.root / "phase" / "vmlinuz").write_bytes(b"the seed's own")
        self.efivars.mkdir()
        self.set(FEATURES, LOADER, struct.pack("<Q", 1 << 3))
        self.seed = self.files()

    @property
    def loader(self) -> SystemdBootLoader:
        reboot = ("sh", "-c", f"echo >> {self.reboots}")
        return SystemdBootLoader(self.esp, EfiVariables(self.efivars), reboot=reboot)

    def set(self, name: str, vendor: str, value: bytes) -> None:
        (self.efivars / f"{name}-{vendor}").write_bytes(struct.pack("<I", 7) + value)

    def files(self) -> dict[str, bytes]:
        """The files of the partition by path."""
        return {
            str(path.relative_to(self.esp.root)): path.read_bytes()
            for path in sorted(self.esp.root.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    @property
    def staged(self) -> dict[str, bytes]:
        """The files that are not the seed's."""
        now = self.files()
        assert {path: now.get(path) for path in self.seed} == self.seed
        return {path: data for path, data in now.items() if path not in self.seed}

    @property
    def one_shot(self) -> bytes | None:
        path = self.efivars / f"{ONE_SHOT}-{LOADER}"
        return path.read_bytes() if path.exists() else None
