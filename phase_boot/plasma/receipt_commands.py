"""`plasma verify` and `plasma ls`: checking a receipt's signature, node, module and boot."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from phase_boot.console.lines import printable
from phase_boot.content.digest import Digest
from phase_boot.plasma.errors import PlasmaError
from phase_boot.plasma.receipt_folder import Entry, ReceiptFolder
from phase_boot.publish.actions import require_site, trusted_chain
from phase_boot.publish.arguments import keyid_of
from phase_boot.publish.check.boot_check import boot_fault
from phase_boot.publish.check.site_check import Finding
from phase_boot.publish.errors import UsageError
from phase_boot.safefs.beneath import read_regular
from phase_boot.trust import receipt
from phase_boot.trust.receipt import (
    Outcome,
    Receipt,
    check_module,
    check_node,
    read_receipt,
)
from phase_boot.trust.refusals import Refusal


def verify(options: argparse.Namespace) -> int:
    """Print each check of a receipt; the status is 0 only if all of them pass."""
    _check_words(options)
    bad = 0
    for finding in _findings(options):
        bad += not finding.good
        mark = "ok " if finding.good else "BAD"
        line = f"{mark} {printable(finding.subject)}: {printable(finding.text)}"
        sys.stdout.write(f"{finding.as_json() if options.json else line}\n")
    if bad:
        sys.stderr.write(f"{printable(options.receipt)} failed {bad} check(s).\n")
    return 1 if bad else 0


def listing(options: argparse.Namespace) -> int:
    """Print the receipts of a folder, the oldest first; the status is 1 if one is invalid."""
    bad = 0
    for entry in ReceiptFolder(options.folder).entries():
        good = isinstance(entry.result, Receipt)
        bad += not good
        if options.json:
            sys.stdout.write(f"{_as_json(entry)}\n")
        elif isinstance(entry.result, Receipt):
            sys.stdout.write(f"{_row(entry.result)}\n")
        else:
            sys.stdout.write(f"BAD {entry.path.name}: {entry.result} [{entry.result.code}]\n")
    return 1 if bad else 0


def summary(found: Receipt) -> Iterator[str]:
    """Yield a readable summary of a receipt."""
    yield f"{found.job}: {_outcome(found)}"
    yield (
        f"  {found.wall_us / 1000:.1f} ms, {found.cpu_us / 1000:.1f} ms of CPU time, "
        f"{found.memory_bytes} bytes of memory, {found.fuel} fuel, by {found.runtime}"
    )
    booted = found.booted
    of = "nothing of Phase Boot" if booted is None else f"{booted.channel} {booted.version}"
    yield f"  on {found.node} ({found.arch}), booted into {of}, mode {found.mode}"


def _check_words(options: argparse.Namespace) -> None:
    if options.against is None and (options.key or options.root or options.threshold is not None):
        raise UsageError("--key, --root and --threshold check a SITE: name it with --against.")
    if options.threshold is not None and not options.key:
        raise UsageError("--threshold counts keys: name them with --key.")


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    subject = str(options.receipt)
    try:
        found = read_receipt(_bytes(options.receipt, receipt.MAX_BYTES))
    except Refusal as refusal:
        yield Finding(subject, good=False, text=f"{refusal} [{refusal.code}]")
        return
    yield Finding(subject, good=True, text=f"signed by {found.node}: {found.job} {_outcome(found)}")
    if options.node is not None:
        yield _expected(
            options.node, "is its machine", partial(check_node, found, keyid_of(options.node))
        )
    if options.module is not None:
        module = _digest(options.module)
        yield _expected(str(options.module), f"is {module}", partial(check_module, found, module))
    if options.against is not None:
        require_site(options.against)
        chain, findings = trusted_chain(options.against, options)
        yield from findings
        if chain is not None:
            fault = boot_fault(options.against, found, chain)
            text = "published the manifest that the machine booted, signed by trusted keys"
            yield Finding(str(options.against), good=fault is None, text=fault or text)


def _expected(subject: str, good: str, check: Callable[[], None]) -> Finding:
    try:
        check()
    except Refusal as refusal:
        return Finding(subject, good=False, text=f"{refusal} [{refusal.code}]")
    return Finding(subject, good=True, text=good)


def _outcome(found: Receipt) -> str:
    if found.outcome is Outcome.EXITED:
        return f"exited with {found.exit}"
    return f"{str(found.outcome).replace('-', ' ')} ({found.reason})"


def _row(found: Receipt) -> str:
    version = "-" if found.booted is None else f"{found.booted.channel} {found.booted.version}"
    return (
        f"{found.started:%Y-%m-%dT%H:%M:%SZ}  {found.job:<16} {version:<24} "
        f"{found.node.removeprefix('ed25519:')[:12]}  {_outcome(found)}"
    )


def _as_json(entry: Entry) -> str:
    found, fault = entry.result, None
    if not isinstance(found, Receipt):
        fault = f"{found} [{found.code}]"
    table = found.table() if isinstance(found, Receipt) else {}
    return json.dumps({"file": str(entry.path), "fault": fault, "receipt": table})


def _digest(path: Path) -> Digest:
    try:
        with path.open("rb") as file:
            return Digest(hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise PlasmaError(f"{path} cannot be read: {error.strerror}.") from error


def _bytes(path: Path, limit: int) -> bytes:
    try:
        return read_regular(path, limit)
    except OSError as error:
        raise PlasmaError(f"{path} cannot be read: {error.strerror}.") from error
