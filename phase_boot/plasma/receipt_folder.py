"""Stores the signed receipts of the jobs that this machine ran, and removes the oldest.

The folder lies on Cache, where the jobs of every boot add to it, so it is bounded: 256 files and
1 MiB. A provider that took a receipt keeps a copy of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.plasma.errors import PlasmaError
from phase_boot.safefs.atomic import PUBLIC, make_folders, replace, sync_folder
from phase_boot.safefs.beneath import read_regular
from phase_boot.trust.receipt import MAX_BYTES, Receipt, read_receipt
from phase_boot.trust.refusals import Refusal

RECEIPTS: Final = Path("/var/lib/plasma/receipts")
MAX_RECEIPTS: Final = 256
"""Stored receipts, at most; the oldest is removed first."""
MAX_TOTAL_BYTES: Final = 1024 * 1024
"""Size of all stored receipts together, at most."""
# A counter, because a clock may be set back, and the first 16 hex digits of the file's sha256.
_NAME: Final = re.compile(r"([0-9]{8})-[0-9a-f]{16}\.json")
_TEMPORARY: Final = ".receipt.new"


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored file with its parsed receipt, or the reason why the file is no valid receipt."""

    path: Path
    result: Receipt | Refusal


class ReceiptFolder:
    """A folder of receipts with one writer; readers may list it meanwhile."""

    def __init__(
        self,
        folder: Path,
        *,
        max_receipts: int = MAX_RECEIPTS,
        max_total_bytes: int = MAX_TOTAL_BYTES,
    ) -> None:
        """Use ``folder``, which the first `add` creates and each `add` trims to the bounds."""
        self._folder = folder
        self._max_receipts = max_receipts
        self._max_total_bytes = max_total_bytes

    def add(self, raw: bytes) -> Path:
        """Write a receipt atomically and durably, then remove the oldest beyond the bounds.

        ``raw`` is stored as it is, without a check. The newest receipt is never removed.

        Returns:
            The path of the new file.

        Raises:
            PlasmaError: the receipt cannot be written, for example on a full disk.
        """
        try:
            make_folders(self._folder)
            number = max((int(path.name[:8]) for path in self._paths()), default=0) + 1
            path = self._folder / f"{number:08}-{Digest.of(raw).hex[:16]}.json"
            replace(path, raw, PUBLIC, temporary=_TEMPORARY)
            self._remove_oldest()
            sync_folder(self._folder)
        except OSError as error:
            raise PlasmaError(
                f"The receipt cannot be stored in {self._folder}: {error.strerror}."
            ) from error
        return path

    def entries(self) -> Iterator[Entry]:
        """Yield the stored receipts, the oldest first; skip files with other names.

        Raises:
            PlasmaError: the folder is missing or cannot be read; raised by the first iteration.
        """
        try:
            for path in self._paths():
                yield Entry(path, _read(path))
        except OSError as error:
            raise PlasmaError(
                f"{self._folder} cannot be read ({error.strerror}): name the folder that receipts "
                "are kept in."
            ) from error

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def _remove_oldest(self) -> None:
        paths = self._paths()
        sizes = [path.lstat().st_size for path in paths]
        while len(paths) > 1 and (
            len(paths) > self._max_receipts or sum(sizes) > self._max_total_bytes
        ):
            sizes.pop(0)
            with suppress(FileNotFoundError):
                paths.pop(0).unlink()


def _read(path: Path) -> Receipt | Refusal:
    try:
        return read_receipt(read_regular(path, MAX_BYTES))
    except Refusal as refusal:
        return refusal
