"""Starts an image once through systemd-boot, where kexec is impossible.

The image is staged on the ESP, with an entry that `LoaderEntryOneShot` selects for one start. A
power cut at any moment leaves a stick that boots as before: only new files are written, neither
files of the seed nor loader.conf change, and the variable, which systemd-boot deletes, is set last.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loader.entries import Entry
from phase_boot.adapters.boot import staging
from phase_boot.adapters.boot.efi_variables import GLOBAL, LOADER, EfiVariables
from phase_boot.adapters.boot.esp import Esp, EspFailed
from phase_boot.adapters.boot.staging import StagingFailed, Written
from phase_boot.adapters.system.programs import run
from phase_boot.handoff.kernel import UnknownKernel
from phase_boot.handoff.unpack import kernel_bytes, verified_bytes
from phase_boot.machine.errors import CannotChainload
from phase_boot.ports.loader import BootPayload, StagingSupport

MIB: Final = 1024 * 1024
SLACK: Final = MIB
"""Free space reserved for folders and the entry."""
ONE_SHOT: Final = "LoaderEntryOneShot"
FEATURES: Final = "LoaderFeatures"
_STARTS_ONCE: Final = 1 << 3
"""Bit of `LoaderFeatures`: the loader supports `LoaderEntryOneShot`."""
_FAILURES: Final = (OSError, EspFailed, StagingFailed, UnknownKernel, ValueError)


class SystemdBootLoader:
    """Implements `ports.loader.Loader`."""

    def __init__(
        self,
        esp: Esp,
        variables: EfiVariables,
        *,
        reboot: tuple[str, ...] = ("systemctl", "reboot"),
    ) -> None:
        self._esp = esp
        self._variables = variables
        self._reboot = reboot

    async def staging_support(self) -> StagingSupport:
        """Check variables and ESP without changing either."""
        return StagingSupport(obstacle=self._obstacle(), secure_boot=self._secure_boot())

    async def stage(self, payload: BootPayload) -> str:
        """Write the files, read them back from the disk, and set the variable."""
        entry = _entry(payload, secrets.token_hex(8))
        try:
            written = await self._write_files(payload, entry)
            await self._write_entry(entry, written)
            name = f"{entry.name}.conf"
            await asyncio.to_thread(self._variables.write_text, ONE_SHOT, LOADER, name)
        except _FAILURES as failure:
            await self._undo()
            raise CannotChainload(_sentence(failure)) from failure
        except BaseException:
            await self._undo()
            raise
        return name

    async def restart(self) -> None:
        """Ask systemd to restart the machine."""
        # systemd then stops this process; a few journal lines may still follow.
        earlier = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        failure = await run(*self._reboot)
        if failure is not None:
            signal.signal(signal.SIGTERM, earlier)
            raise CannotChainload(
                f"the machine cannot be restarted ({failure}); restart it by hand, it will start "
                "what was staged"
            )

    async def unstage(self) -> int:
        """Check first, and mount only if files are left, as mounting delays the boot."""
        try:
            files = await self._remove_staged()
            # The files go first: they are gone even if the firmware cannot delete the variable.
            await asyncio.to_thread(self._delete_one_shot)
        except _FAILURES as failure:
            raise CannotChainload(_sentence(failure)) from failure
        return files

    async def _remove_staged(self) -> int:
        # The folder is created first and removed last.
        if await asyncio.to_thread(self._esp.certainly_lacks, staging.FOLDER):
            return 0
        # A read-only mount never needs a repair.
        async with self._esp.mounted() as root:
            if root is None or not await asyncio.to_thread(staging.is_staged, root):
                return 0
        async with self._esp.mounted(writable=True) as root:
            return await asyncio.to_thread(staging.remove, root) if root else 0

    async def _write_files(self, payload: BootPayload, entry: Entry) -> list[Written]:
        """Write the files; return their sizes and digests."""
        if obstacle := self._obstacle():
            raise StagingFailed(obstacle)
        async with self._esp.mounted(writable=True) as root:
            mount_point = _require_mounted(root)
            await asyncio.to_thread(staging.remove, mount_point)
            await asyncio.to_thread(_check_space, mount_point, payload)
            return await asyncio.to_thread(_write, mount_point, payload, entry)

    async def _write_entry(self, entry: Entry, written: list[Written]) -> None:
        """Read the files back from the disk; write the entry only if they match."""
        async with self._esp.mounted(writable=True) as root:
            mount_point = _require_mounted(root)
            for file in written:
                await asyncio.to_thread(staging.check, mount_point, file)
            name = f"{entry.name}.conf"
            listed = await asyncio.to_thread(staging.write_entry, mount_point, name, entry.text())
        async with self._esp.mounted() as root:
            await asyncio.to_thread(staging.check, _require_mounted(root), listed)

    async def _undo(self) -> None:
        """Undo the staging as far as possible; the next boot tries again."""
        try:
            await self.unstage()
        except CannotChainload:
            return

    def _delete_one_shot(self) -> None:
        """Delete `LoaderEntryOneShot`."""
        ordered = self._variables.text(ONE_SHOT, LOADER)
        if ordered is not None and staging.STAGED_ENTRY.fullmatch(ordered):
            self._variables.remove(ONE_SHOT, LOADER)

    def _obstacle(self) -> str | None:
        try:
            features = self._variables.read(FEATURES, LOADER)
        except OSError:
            features = None
        if features is None:
            return "no loader that could be told what to start has started this machine"
        if not int.from_bytes(features[:8], "little") & _STARTS_ONCE:
            return "the loader of this machine cannot be told what to start"
        if not self._variables.writable():
            return "the firmware's variables cannot be written"
        return self._esp.obstacle()

    def _secure_boot(self) -> bool:
        """Return whether Secure Boot is on; true if the variable is unreadable."""
        try:
            value = self._variables.read("SecureBoot", GLOBAL)
        except OSError:
            return True
        return value is not None and value != b"\0"


def _entry(payload: BootPayload, name: str) -> Entry:
    folder = f"/{staging.FOLDER}/{name}"
    common = {
        "name": f"phase-staged-{name}",
        "title": f"Phase Boot: start {payload.version} once",
        "sort_key": "phase-9",
        "version": payload.version,
    }
    if payload.initrd is None:
        return Entry(**common, efi=f"{folder}/image.efi")
    return Entry(
        **common, linux=f"{folder}/linux", initrd=f"{folder}/initrd", options=payload.cmdline
    )


def _check_space(root: Path, payload: BootPayload) -> None:
    """Raise before writing if the files do not fit."""
    packed = payload.kernel.packed
    kernel = packed.unpacked if packed else payload.image.artifact.size
    needed = kernel + (payload.initrd.size if payload.initrd else 0) + SLACK
    free = staging.free_space(root)
    if needed > free:
        raise StagingFailed(
            f"the loader's partition has {free / MIB:.1f} MiB left and the image takes "
            f"{needed / MIB:.1f}"
        )


def _write(root: Path, payload: BootPayload, entry: Entry) -> list[Written]:
    image = staging.write(
        root, _path(entry.efi or entry.linux), kernel_bytes(payload.image, payload.kernel)
    )
    if payload.initrd is None:
        return [image]
    return [image, staging.write(root, _path(entry.initrd), _initrd(payload))]


def _initrd(payload: BootPayload) -> Iterator[bytes]:
    for part in payload.initrd.parts() if payload.initrd else ():
        if isinstance(part, bytes):
            yield part
        else:
            yield from verified_bytes(part)


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.strip("/").split("/"))


def _require_mounted(root: Path | None) -> Path:
    if root is None:
        raise StagingFailed("this stick has no EFI system partition")
    return root


def _sentence(failure: Exception) -> str:
    if isinstance(failure, OSError):
        return f"nothing can be staged on the stick: {failure.strerror or failure}"
    return str(failure)
