"""Keeping the receipts that booted machines hand in: each verified first, all of them bounded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.provider.limits import Limits
from phase_boot.store.digest import Digest
from phase_boot.store.layout import RECEIPTS, kept_manifest_path
from phase_boot.trust.receipt import Receipt, read_receipt
from phase_boot.trust.refusals import Refusal

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PUBLIC: Final = 0o644


class NotKept(Exception):
    """A receipt is not taken; ``str`` is one sentence with the way out.

    Attributes:
        code: what a program goes by.
        full: whether it is the SITE's fault and not the receipt's.
    """

    def __init__(self, sentence: str, *, code: str, full: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.full = full


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt that stands in the SITE, and whether it did so before."""

    receipt: Receipt
    path: Path
    known: bool


class Receipts:
    """The receipts of a SITE. Its methods block; one provider at a time adds to them."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._folder = root / RECEIPTS
        self._limits = limits
        self._lock = threading.Lock()

    def keep(self, raw: bytes) -> Kept:
        """Keep a receipt that is what it says and is about a version that this SITE published.

        Of one node only the newest are kept. Where too many nodes handed some in, no more are
        taken: whoever makes up nodes can fill the folder, but cannot push an honest one out.

        Raises:
            NotKept: it is not believed, is of another publisher's version, or there is no room.
        """
        receipt = self._believed(raw)
        folder = self._folder / receipt.node.removeprefix("ed25519:")
        path = folder / f"{Digest.of(raw).hex}.json"
        with self._lock:
            if path.exists():
                return Kept(receipt, path, known=True)
            try:
                self._check_room(folder)
                self._write(path, raw)
                self._thin(folder, path)
            except OSError as error:
                raise NotKept(
                    f"The SITE cannot keep it ({error.strerror}): see to its disk.",
                    code="receipt.no-room",
                    full=True,
                ) from error
        return Kept(receipt, path, known=False)

    def _believed(self, raw: bytes) -> Receipt:
        try:
            receipt = read_receipt(raw)
        except Refusal as refusal:
            raise NotKept(str(refusal), code=refusal.code) from None
        if not self._is_known(receipt):
            raise NotKept(
                "The receipt is of no boot of a version that this SITE published: "
                "hand it in where that machine was booted from.",
                code="receipt.unknown-manifest",
            )
        return receipt

    def _is_known(self, receipt: Receipt) -> bool:
        booted = receipt.booted
        if booted is None:
            return False
        kept = kept_manifest_path(booted.channel, receipt.arch, booted.manifest)
        return (self._root / kept).is_file()

    def _check_room(self, folder: Path) -> None:
        if folder.is_dir():
            return
        nodes = sum(1 for _ in _inside(self._folder))
        if nodes >= self._limits.nodes:
            raise NotKept(
                f"The SITE has receipts of {nodes} nodes already and takes no more: move some out "
                f"of its folder {RECEIPTS}.",
                code="receipt.no-room",
                full=True,
            )

    def _write(self, path: Path, raw: bytes) -> None:
        """Put a receipt in its place, all at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        made = self._folder / f".{path.name}.new"
        made.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(made, _NEW, _PUBLIC), "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)

    def _thin(self, folder: Path, added: Path) -> None:
        """Remove the oldest receipts of a node beyond as many as are kept of one."""
        others = [path for path in _inside(folder) if path != added]
        others.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in others[: max(0, len(others) + 1 - self._limits.receipts_of_a_node)]:
            path.unlink(missing_ok=True)


def _inside(folder: Path) -> Iterator[Path]:
    """Yield what stands in a folder, but for what is being made there."""
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if not path.name.startswith("."))
