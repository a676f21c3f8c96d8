"""Jobs of a booted machine: run, reported, and never a failure of the boot."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from phase_boot.adapters.system.tpm import BANK
from phase_boot.content.digest import Digest
from phase_boot.journal.event import Event
from phase_boot.journal.record import values_of
from phase_boot.plasma.boot_jobs import ATTEMPTS, Effects, Paths, boot
from phase_boot.ports.receipt_upload import UploadFailed
from phase_boot.trust.receipt import Outcome, Receipt, read_receipt
from policies.model import Reach
from tests.support.handed_over import PROVIDER_URL, RUNNING, handed_over
from tests.support.receipts import job_table

START = bytes.fromhex("0061736d0100000001040160000003020100070a01065f73746172740000")
ENDS_AT_ONCE = START + bytes.fromhex("0a040102000b")
"""(module (func (export "_start")))"""
PCR = "ab" * 32


@dataclass
class BootedMachine:
    """A booted machine, with its events and uploaded receipts."""

    paths: Paths
    persists: bool = True
    unwilling: list[UploadFailed] = field(default_factory=list)
    emitted: list[Event] = field(default_factory=list)
    uploaded: list[tuple[str, bytes, Reach]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def upload(self, base: str, receipt: bytes, *, reach: Reach) -> None:
        if self.unwilling:
            raise self.unwilling.pop(0)
        self.uploaded.append((base, receipt, reach))

    def boot(self) -> int:
        return boot(
            self.paths,
            Effects(
                emit=self.emitted.append,
                uploader=lambda _proxy: self,
                sleep=self.slept.append,
                same_disk=lambda _data, _cache: self.persists,
            ),
        )

    def named(self, name: str) -> list[dict[str, Any]]:
        return [values_of(each) for each in self.emitted if each.event == name]

    def receipts(self) -> list[Receipt]:
        return [read_receipt(event["receipt"].encode()) for event in self.named("plasma.receipt")]

    def problems(self) -> str:
        return "\n".join(event["reason"] for event in self.named("plasma.problem"))

    def kept(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.paths.data.glob("receipts/*.json"))]


def job(name: str, module: bytes = ENDS_AT_ONCE, **changes: object) -> dict[str, object]:
    fields = {"module": str(Digest.of(module)), "size": len(module), "grants": None, **changes}
    return job_table(name=name, **fields)


def put_job(folder: Path, file: str, table: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(table))


def put_module(store: Path, module: bytes, content: bytes | None = None) -> None:
    folder = store / "cas" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Digest.of(module).hex).write_bytes(module if content is None else content)


@pytest.fixture
def machine(tmp_path: Path) -> BootedMachine:
    paths = Paths(
        handoff=tmp_path / "run",
        jobs=tmp_path / "plasma.d",
        cache=tmp_path / "cache",
        data=tmp_path / "keep",
        root=tmp_path,
    )
    for folder in (paths.handoff, paths.data, tmp_path / BANK, tmp_path / "proc"):
        folder.mkdir(parents=True)
    (tmp_path / "proc" / "cmdline").write_text("console=ttyS0\n")
    (tmp_path / BANK / "4").write_text(f"{PCR}\n")
    (paths.handoff / "rootfs.sha256").write_text(f"{RUNNING}\n")
    hand_over(paths, handed_over(sources={"rootfs": PROVIDER_URL}))
    put_job(paths.jobs, "10-hello.json", job("hello"))
    put_module(paths.jobs, ENDS_AT_ONCE)
    return BootedMachine(paths)


def hand_over(paths: Paths, raw: bytes) -> None:
    (paths.handoff / "handoff.json").write_bytes(raw)


def test_the_receipt_of_a_rootfs_job_is_emitted_stored_and_uploaded(machine: BootedMachine) -> None:
    assert machine.boot() == 0
    (receipt,) = machine.receipts()
    assert (receipt.job, receipt.outcome, receipt.exit) == ("hello", Outcome.EXITED, 0)
    assert receipt.mode == "internet"
    assert receipt.booted is not None
    assert receipt.booted.pcrs == {4: PCR}
    (raw,) = machine.kept()
    assert read_receipt(raw) == receipt
    assert machine.uploaded == [(PROVIDER_URL, raw, Reach.INTERNET)]
    assert machine.named("plasma.done") == [{"jobs": 1, "node": receipt.node}]
    assert machine.problems() == ""


@pytest.mark.parametrize(
    "word", ["phase.mode=private", "phase.version=999", f"phase.rootfs=sha256:{'0' * 64}"]
)
def test_a_document_that_the_command_line_contradicts_runs_nothing(
    machine: BootedMachine, word: str
) -> None:
    cmdline = machine.paths.root / "proc" / "cmdline"
    cmdline.write_text(f"phase.mode=internet {word} quiet\n")
    assert machine.boot() == 1
    assert machine.receipts() == []
    assert machine.kept() == []
    assert machine.uploaded == []
    assert word in machine.problems()


def test_a_document_that_the_command_line_confirms_is_accepted(machine: BootedMachine) -> None:
    words = f"phase.mode=internet phase.version=2025.11.12 phase.rootfs={RUNNING}"
    (machine.paths.root / "proc" / "cmdline").write_text(f"{words} quiet\n")
    assert machine.boot() == 0


def test_a_machine_keeps_its_name_from_boot_to_boot(machine: BootedMachine) -> None:
    machine.boot()
    machine.boot()
    first, second = machine.receipts()
    assert first.node == second.node
    assert len(machine.kept()) == 2


def test_jobs_of_the_rootfs_run_by_name_before_those_of_the_manifest(
    machine: BootedMachine,
) -> None:
    put_job(machine.paths.jobs, "05-early.json", job("early"))
    put_module(machine.paths.cache, ENDS_AT_ONCE + b"\0\2\1x", ENDS_AT_ONCE + b"\0\2\1x")
    late = job("late", ENDS_AT_ONCE + b"\0\2\1x")
    hand_over(machine.paths, handed_over(jobs=[late, job("hello")]))
    assert machine.boot() == 1
    runs = [(receipt.job, receipt.outcome) for receipt in machine.receipts()]
    assert runs == [
        ("early", Outcome.EXITED),
        ("hello", Outcome.EXITED),
        ("late", Outcome.EXITED),
        ("hello", Outcome.NOT_RUN),
    ]


def test_in_private_mode_nothing_is_stored_uploaded_or_downloaded(machine: BootedMachine) -> None:
    elsewhere = ENDS_AT_ONCE + b"\0\2\1x"
    put_module(machine.paths.cache, elsewhere)
    hand_over(machine.paths, handed_over(mode="private", jobs=[job("far", elsewhere)]))
    machine.boot()
    first, far = machine.receipts()
    assert (first.mode, first.exit) == ("private", 0)
    assert far.outcome is Outcome.NOT_RUN
    assert "Private mode downloads none" in far.reason
    assert list(machine.paths.data.iterdir()) == []
    assert machine.uploaded == []
    machine.boot()
    assert machine.receipts()[2].node != first.node


def test_without_a_cache_a_receipt_is_emitted_and_uploaded_but_not_stored(
    machine: BootedMachine,
) -> None:
    machine.persists = False
    assert machine.boot() == 0
    assert len(machine.receipts()) == len(machine.uploaded) == 1
    assert list(machine.paths.data.iterdir()) == []


def test_a_failing_cache_is_reported_and_the_job_runs(machine: BootedMachine) -> None:
    (machine.paths.data / "receipts").write_text("not a folder")
    (machine.paths.data / "node.key").write_text("not a key")
    assert machine.boot() == 0
    assert [receipt.exit for receipt in machine.receipts()] == [0]
    assert "cannot be stored" in machine.problems()
    (node,) = machine.named("plasma.node")
    assert "This run uses a temporary key" in node["note"]


def test_a_module_that_was_changed_on_the_disk_is_not_run(machine: BootedMachine) -> None:
    put_module(machine.paths.jobs, ENDS_AT_ONCE, ENDS_AT_ONCE[:-1] + b"\0")
    hand_over(machine.paths, handed_over(mode="private"))
    assert machine.boot() == 1
    (receipt,) = machine.receipts()
    assert receipt.outcome is Outcome.NOT_RUN
    assert "is not what was signed" in receipt.reason


def test_a_job_that_cannot_be_read_keeps_no_other_from_running(machine: BootedMachine) -> None:
    put_job(machine.paths.jobs, "20-bad.json", {"name": "bad"})
    assert machine.boot() == 0
    assert [receipt.job for receipt in machine.receipts()] == ["hello"]
    assert "20-bad.json" in machine.problems()


def test_a_missing_handoff_is_reported_and_nothing_runs(machine: BootedMachine) -> None:
    (machine.paths.handoff / "handoff.json").unlink()
    assert machine.boot() == 1
    assert "boot this machine from its stick" in machine.problems()
    assert machine.receipts() == []


def test_a_provider_is_asked_again_while_the_network_comes_up(machine: BootedMachine) -> None:
    machine.unwilling = [
        UploadFailed("no route", retryable=True),
        UploadFailed("it answered HTTP 503", retryable=True, retry_after=100_000),
    ]
    machine.boot()
    assert len(machine.uploaded) == 1
    first, second = machine.slept
    assert 1 <= first <= 2
    assert second == 30
    assert machine.problems() == ""


@pytest.mark.parametrize(("again", "asked"), [(True, ATTEMPTS), (False, 1)])
def test_a_provider_that_refuses_receipts_is_reported_once(
    machine: BootedMachine,
    again: bool,  # noqa: FBT001 - a case
    asked: int,
) -> None:
    machine.unwilling = [UploadFailed("no", retryable=again) for _ in range(ATTEMPTS)]
    assert machine.boot() == 0
    assert len(machine.unwilling) == ATTEMPTS - asked
    assert machine.problems() == f"{PROVIDER_URL} did not accept the receipts: no."
    assert machine.named("plasma.uploaded") == []


def test_local_mode_uploads_to_the_local_network_only(machine: BootedMachine) -> None:
    hand_over(machine.paths, handed_over(mode="local", sources={"rootfs": PROVIDER_URL}))
    machine.boot()
    assert [reach for _, _, reach in machine.uploaded] == [Reach.LAN]
