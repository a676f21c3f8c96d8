"""What the booted target proves of its jobs, judged as anybody could who has the SITE."""

from __future__ import annotations

import json
import time

from image.hello import SOURCE
from image.lab.disk_image import Cache
from image.lab.machine import Machine
from phase_boot.content.digest import Digest
from phase_boot.store.layout import manifest_path
from phase_boot.trust.job import read_job
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.receipt import (
    Outcome,
    Output,
    Receipt,
    check_booted,
    check_module,
    read_receipt,
)
from phase_boot.trust.strict_json import read_document
from tests.support.boot_images import CHANNEL, SECOND_INPUT, SECOND_MODULE, Published
from tests.support.boots import BOOT_SECONDS

HELLO = read_job((SOURCE / "hello.json").read_bytes())
FOLDER = "/plasma/receipts"
CONSOLE_SECONDS = 60.0


def receipts(machine: Machine, published: Published) -> tuple[Receipt, Receipt]:
    """Wait until both jobs are done with; their receipts, each of what `published` signed."""
    machine.wait_for("plasma.done", timeout=BOOT_SECONDS)
    document = read_document((published.site / manifest_path(CHANNEL, published.arch)).read_bytes())
    found = [read_receipt(raw) for raw in printed(machine)]
    for receipt in found:
        check_booted(receipt, published.manifest, Digest.of(signed_bytes(document)))
    hello, second = found
    check_module(hello, HELLO.module)
    assert_output(hello, HELLO.stdin)
    check_module(second, Digest.of(SECOND_MODULE))
    return hello, second


def printed(machine: Machine) -> list[bytes]:
    """Every receipt on the target's events port, as encoded in its file."""
    raw = [event.text("receipt").encode() for event in machine.events_named("plasma.receipt")]
    # A serial line is slower than the events port.
    give_up = time.monotonic() + CONSOLE_SECONDS
    while len(shown := on_console(machine)) < len(raw) and time.monotonic() < give_up:
        time.sleep(0.2)
    assert shown == raw
    return raw


def on_console(machine: Machine) -> list[bytes]:
    """Every complete receipt on the console."""
    *whole, _ = (machine.folder / "console.log").read_text(errors="replace").split("\n")
    lines = [line for line in whole if line.startswith('{"event": "plasma.receipt"')]
    return [json.loads(line)["receipt"].encode() for line in lines]


def assert_output(receipt: Receipt, stdin: str) -> None:
    """The job exited with 0 and wrote the output of hello for this input."""
    assert (receipt.outcome, receipt.exit, receipt.reason) == (Outcome.EXITED, 0, "")
    assert receipt.booted is not None
    where = f"ran on {receipt.arch}, booted {receipt.booted.version}, as {receipt.node}"
    assert receipt.stdout == Output.of(f"{stdin[::-1]}\n{where}\n".encode())
    assert receipt.stderr == Output.of(b"")
    assert receipt.fuel > 0


def assert_second_output(receipt: Receipt) -> None:
    """The job of the manifest wrote the output for its input."""
    assert_output(receipt, SECOND_INPUT)


def kept_in(cache: Cache) -> list[bytes]:
    """The receipts on a Cache partition, the oldest first."""
    return [cache.read(f"{FOLDER}/{name}") for name in cache.list(FOLDER)]
