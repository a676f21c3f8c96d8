"""Receipts in a SITE, which state what machines booted and ran (`phase-boot receipts`).

Each receipt is verified again when it is listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.publish.check.boot_check import boot_fault
from phase_boot.publish.errors import PublishError
from phase_boot.store.layout import RECEIPTS
from phase_boot.trust.chain import Chain
from phase_boot.trust.claims import check_same_node
from phase_boot.trust.keys import KEYID_PREFIX
from phase_boot.trust.receipt import MAX_BYTES, Outcome, Receipt, read_receipt
from phase_boot.trust.refusals import Refusal

HEAD: Final = "NODE          STARTED            BOOTED        FOR    JOB        RUN"


@dataclass(frozen=True, slots=True)
class Finding:
    """A receipt of the SITE, and its fault if it is invalid."""

    path: Path
    receipt: Receipt | None
    fault: str | None = None

    @property
    def ran(self) -> bool:
        """Whether it is valid and its job exited with 0."""
        receipt = self.receipt
        return receipt is not None and self.fault is None and receipt.exit == 0

    def line(self) -> str:
        """Return it as one row of the table, in printable ASCII."""
        receipt = self.receipt
        if receipt is None or self.fault is not None:
            name = f"{self.path.parent.name[:12]}/{self.path.name[:12]}"
            return f"BAD {ascii(name)[1:-1]}: {self.fault}"
        version = "-" if receipt.booted is None else str(receipt.booted.version)
        run = f"exited {receipt.exit}" if receipt.outcome is Outcome.EXITED else receipt.outcome
        return (
            f"{receipt.node.removeprefix(KEYID_PREFIX)[:12]}  "
            f"{receipt.started:%Y-%m-%dT%H:%MZ}  {version:<12}  {receipt.arch!s:<5}  "
            f"{receipt.job:<9}  {run}"
        )

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        table = {} if self.receipt is None else self.receipt.table()
        return json.dumps({"file": str(self.path), "fault": self.fault, "receipt": table})


def findings(site: Path, chain: Chain) -> Iterator[Finding]:
    """Yield a finding for each receipt of a SITE, grouped by node, the oldest first.

    Raises:
        PublishError: the folder cannot be read.
    """
    folder = site / RECEIPTS
    try:
        nodes = (
            sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        )
        for node in nodes:
            found = [_check_receipt(site, path, chain) for path in sorted(node.iterdir())]
            yield from _check_node(sorted(found, key=_start_time))
    except OSError as error:
        where = error.filename or folder
        raise PublishError(f"{where} cannot be read: {error.strerror}.") from error


def _check_node(found: list[Finding]) -> Iterator[Finding]:
    """Yield the findings of one node key, each compared with the first valid one."""
    first: Receipt | None = None
    for finding in found:
        receipt = finding.receipt if finding.fault is None else None
        first = first or receipt
        if receipt is None or first is None:
            yield finding
            continue
        try:
            check_same_node(receipt, first)
        except Refusal as refusal:
            yield replace(finding, fault=f"{refusal} [{refusal.code}]")
        else:
            yield finding


def _start_time(finding: Finding) -> str:
    return "" if finding.receipt is None else finding.receipt.started.isoformat()


def _check_receipt(site: Path, path: Path, chain: Chain) -> Finding:
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    try:
        receipt = read_receipt(raw)
    except Refusal as refusal:
        return Finding(path, None, f"{refusal} [{refusal.code}]")
    return Finding(
        path, receipt, _name_fault(path, receipt, raw) or boot_fault(site, receipt, chain)
    )


def _name_fault(path: Path, receipt: Receipt, raw: bytes) -> str | None:
    expected = (receipt.node.removeprefix(KEYID_PREFIX), f"{Digest.of(raw).hex}.json")
    if (path.parent.name, path.name) == expected:
        return None
    return "Its file name is not its digest, so it was moved: look for a missing receipt."
