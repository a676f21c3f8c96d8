"""The folder of this machine's receipts, bounded in number and bytes."""

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
MOST: Final = 256
"""Stored receipts; the oldest is removed first."""
MOST_BYTES: Final = 1024 * 1024
# An increasing number, because a clock may be set back, and the start of the file's sha256.
_NAME: Final = re.compile(r"([0-9]{8})-[0-9a-f]{16}\.json")
_TEMPORARY: Final = ".receipt.new"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the folder, and its receipt or the reason why it is invalid."""

    path: Path
    found: Receipt | Refusal


class ReceiptFolder:
    """A folder of receipts."""

    def __init__(self, folder: Path, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        """Keep at most ``most`` receipts in ``folder``, of ``most_bytes`` together."""
        self._folder = folder
        self._most = most
        self._most_bytes = most_bytes

    def add(self, raw: bytes) -> Path:
        """Write a receipt atomically and durably, and return its path.

        Raises:
            PlasmaError: the disk refuses; earlier receipts are unchanged.
        """
        try:
            make_folders(self._folder)
            number = max((int(path.name[:8]) for path in self._paths()), default=0) + 1
            path = self._folder / f"{number:08}-{Digest.of(raw).hex[:16]}.json"
            replace(path, raw, PUBLIC, temporary=_TEMPORARY)
            self._forget()
            sync_folder(self._folder)
        except OSError as error:
            raise PlasmaError(
                f"The receipt cannot be stored in {self._folder}: {error.strerror}."
            ) from error
        return path

    def entries(self) -> Iterator[Entry]:
        """Yield the stored receipts, the oldest first.

        Raises:
            PlasmaError: the folder cannot be read.
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

    def _forget(self) -> None:
        paths = self._paths()
        sizes = [path.lstat().st_size for path in paths]
        # The newest is never removed, whatever the bounds are.
        while len(paths) > 1 and (len(paths) > self._most or sum(sizes) > self._most_bytes):
            sizes.pop(0)
            with suppress(FileNotFoundError):
                paths.pop(0).unlink()


def _read(path: Path) -> Receipt | Refusal:
    try:
        return read_receipt(read_regular(path, MAX_BYTES))
    except Refusal as refusal:
        return refusal
