"""Check the receipt of the target's first job against the published SITE, and describe it.

The check needs nothing but the SITE, as everyone can read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.hello import SOURCE
from image.lab.guest_events import Event
from phase_boot.content.digest import Digest
from phase_boot.store.layout import RECEIPTS, manifest_path
from phase_boot.trust.job import Job, read_job
from phase_boot.trust.keys import KEYID_PREFIX
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import (
    Outcome,
    Output,
    Receipt,
    check_booted,
    check_module,
    read_receipt,
)
from phase_boot.trust.strict_json import read_document

PLASMA_DONE: Final = "plasma.done"
RECEIPT: Final = "plasma.receipt"


class ReceiptCheckFailed(Exception):
    """There is no receipt, or not of the expected run; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """A valid receipt of the job `hello`, whose output is known in advance."""

    job: Job
    receipt: Receipt
    raw: bytes

    def output(self) -> str:
        """Return the output of `hello` on the machine that signed the receipt."""
        found = self.receipt
        version = found.booted.version if found.booted else "none"
        where = f"ran on {found.arch}, booted {version}, as {found.node}"
        return f"{self.job.stdin[::-1]}\n{where}\n"

    def stored_at(self, site: Path) -> Path:
        """Return the file in which a provider of ``site`` stores the receipt."""
        node = self.receipt.node.removeprefix(KEYID_PREFIX)
        return site / RECEIPTS / node / f"{Digest.of(self.raw).hex}.json"


def check_first_receipt(events: Sequence[Event], site: Path, manifest: Manifest) -> CheckedReceipt:
    """Check the first receipt among ``events`` against what ``site`` published.

    Raises:
        Refusal: the receipt is invalid, or names another boot or module.
        ReceiptCheckFailed: there is no receipt, or the job's result is not that of `hello`.
    """
    first = next((event for event in events if event.name == RECEIPT), None)
    if first is None:
        reasons = [event.text("reason") for event in events if event.name == "plasma.problem"]
        raise ReceiptCheckFailed(
            f"the target ran no job: {' '.join(reasons) or 'it sent no event about one'}"
        )
    raw = first.text("receipt").encode()
    receipt, job = read_receipt(raw), read_job((SOURCE / "hello.json").read_bytes())
    document = read_document((site / manifest_path(manifest.channel, manifest.arch)).read_bytes())
    check_booted(receipt, manifest, Digest.of(signed_bytes(document)))
    check_module(receipt, job.module)
    found = CheckedReceipt(job, receipt, raw)
    if (receipt.outcome, receipt.exit) != (Outcome.EXITED, 0):
        raise ReceiptCheckFailed(
            f"the job ended with {receipt.outcome} {receipt.exit}: {receipt.reason}."
        )
    if receipt.stdout != Output.of(found.output().encode()):
        raise ReceiptCheckFailed("the job's output is not that of hello.")
    return found


def describe(found: CheckedReceipt, site: Path) -> Iterator[tuple[str, str]]:
    """Yield a label and a text for each fact that the demo prints."""
    receipt, job = found.receipt, found.job
    yield "job", f"{job.name}, module {str(job.module)[:23]}…, {job.size} bytes of WebAssembly"
    yield "asked", job.stdin
    for line in found.output().splitlines():
        yield "said", line
    used = f"{receipt.fuel:,} of {job.fuel:,} fuel, {receipt.memory_bytes >> 10} KiB"
    yield "used", f"{used}, {receipt.wall_us / 1e6:.2f} s, by {receipt.runtime}"
    yield "signed", f"by the machine's own key {receipt.node[:24]}…"
    stored = found.stored_at(site)
    yield "kept", "on Cache" + (", and by the provider:" if stored.exists() else "")
    if stored.exists():
        node = stored.parent.name
        yield "", f"{site}/{RECEIPTS}/{node[:12]}…/{stored.name[:12]}….json"
