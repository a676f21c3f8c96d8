"""Writes reports to the ESP of the stick, which any computer can read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from phase_boot.adapters.boot.esp import Esp, EspFailed
from phase_boot.ports.reports import NotSaved
from phase_boot.safefs.atomic import PUBLIC, replace, sync_folder

FOLDER: Final = Path("phase/reports")
"""Folder of reports at the root of the ESP."""
NAME: Final = re.compile(r"[0-9a-z]{1,32}")
MAX_REPORTS: Final = 16
MAX_BYTES: Final = 512 * 1024
_TEMPORARY: Final = ".report.new"


class StickReports:
    """Implements `ports.reports.Reports` in the seed."""

    def __init__(self, esp: Esp) -> None:
        self._esp = esp

    async def save(self, name: str, text: str) -> str:
        """Write the report, and remove the oldest ones beyond the limit."""
        data = text.encode("ascii", "backslashreplace")[:MAX_BYTES]
        if not NAME.fullmatch(name):
            raise NotSaved(f"{name[:40]!r} is no name of a report")
        if obstacle := self._esp.obstacle():
            raise NotSaved(obstacle)
        try:
            async with self._esp.mounted(writable=True) as root:
                if root is None:
                    raise NotSaved("this stick has no EFI system partition for reports")
                _write(root / FOLDER, f"{name}.txt", data)
        except EspFailed as failure:
            raise NotSaved(str(failure)) from failure
        except OSError as error:
            raise NotSaved(f"the stick refused: {error.strerror}") from error
        return f"/{FOLDER}/{name}.txt on the stick's first partition"


def _write(folder: Path, name: str, data: bytes) -> None:
    """Replace a report atomically, and remove drafts that a crash left."""
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / name, data, PUBLIC, temporary=_TEMPORARY)
    _keep_newest(folder, name)
    sync_folder(folder)


def _keep_newest(folder: Path, name: str) -> None:
    """Remove the oldest reports beyond the limit, but never ``name``, even with a wrong clock."""
    others = [path for path in folder.glob("*.txt") if path.name != name]
    others.sort(key=lambda path: (path.stat().st_mtime, path.name))
    for old in others[: max(0, len(others) + 1 - MAX_REPORTS)]:
        old.unlink()
