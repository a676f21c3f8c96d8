"""The receipt of the first job: judged as anybody could who has the SITE, and told to a person."""

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


class NotProved(Exception):
    """A receipt does not say what it should; the text is one sentence for the terminal."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A receipt that was judged, of a job whose output is known beforehand."""

    job: Job
    receipt: Receipt
    raw: bytes

    def output(self) -> str:
        """Return what hello writes on the machine that the receipt is of."""
        found = self.receipt
        version = found.booted.version if found.booted else "none"
        where = f"ran on {found.arch}, booted {version}, as {found.node}"
        return f"{self.job.stdin[::-1]}\n{where}\n"

    def place(self, site: Path) -> Path:
        """Return where a provider of ``site`` keeps the receipt."""
        node = self.receipt.node.removeprefix(KEYID_PREFIX)
        return site / RECEIPTS / node / f"{Digest.of(self.raw).hex}.json"


def proof(events: Sequence[Event], site: Path, manifest: Manifest) -> Proof:
    """Judge the first receipt among ``events`` by what ``site`` published.

    Raises:
        Refusal: it is no receipt, or of another boot or module than it should be.
        NotProved: there is none, or its job did not do what hello does.
    """
    first = next((event for event in events if event.name == RECEIPT), None)
    if first is None:
        said = [event.text("reason") for event in events if event.name == "plasma.problem"]
        raise NotProved(f"the target ran no job: {' '.join(said) or 'it said nothing of any'}")
    raw = first.text("receipt").encode()
    receipt, job = read_receipt(raw), read_job((SOURCE / "hello.json").read_bytes())
    document = read_document((site / manifest_path(manifest.channel, manifest.arch)).read_bytes())
    check_booted(receipt, manifest, Digest.of(signed_bytes(document)))
    check_module(receipt, job.module)
    found = Proof(job, receipt, raw)
    if (receipt.outcome, receipt.exit) != (Outcome.EXITED, 0):
        raise NotProved(f"the job ended with {receipt.outcome} {receipt.exit}: {receipt.reason}.")
    if receipt.stdout != Output.of(found.output().encode()):
        raise NotProved("the job wrote something else than hello does.")
    return found


def story(found: Proof, site: Path) -> Iterator[tuple[str, str]]:
    """Yield what a person is told of it: a label and a text."""
    receipt, job = found.receipt, found.job
    yield "job", f"{job.name}, module {str(job.module)[:23]}…, {job.size} bytes of WebAssembly"
    yield "asked", job.stdin
    for line in found.output().splitlines():
        yield "said", line
    used = f"{receipt.fuel:,} of {job.fuel:,} fuel, {receipt.memory_bytes >> 10} KiB"
    yield "used", f"{used}, {receipt.wall_us / 1e6:.2f} s, by {receipt.runtime}"
    yield "signed", f"by the machine's own key {receipt.node[:24]}…"
    kept = found.place(site)
    yield "kept", "on Cache" + (", and by the provider:" if kept.exists() else "")
    if kept.exists():
        node = kept.parent.name
        yield "", f"{site}/{RECEIPTS}/{node[:12]}…/{kept.name[:12]}….json"
