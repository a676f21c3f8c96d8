"""What a booted machine does about its jobs: it runs them, says so, and never fails the boot."""

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
from tests.support.handed_over import NEIGHBOUR, RUNNING, handed_over
from tests.support.receipts import job_table

START = bytes.fromhex("0061736d0100000001040160000003020100070a01065f73746172740000")
ENDS_AT_ONCE = START + bytes.fromhex("0a040102000b")
"""(module (func (export "_start")))"""
PCR = "ab" * 32


@dataclass
class Scene:
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
def scene(tmp_path: Path) -> Scene:
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
    hand_over(paths, handed_over(sources={"rootfs": NEIGHBOUR}))
    put_job(paths.jobs, "10-hello.json", job("hello"))
    put_module(paths.jobs, ENDS_AT_ONCE)
    return Scene(paths)


def hand_over(paths: Paths, raw: bytes) -> None:
    (paths.handoff / "handoff.json").write_bytes(raw)


def test_the_receipt_of_a_rootfs_job_is_emitted_stored_and_uploaded(scene: Scene) -> None:
    assert scene.boot() == 0
    (receipt,) = scene.receipts()
    assert (receipt.job, receipt.outcome, receipt.exit) == ("hello", Outcome.EXITED, 0)
    assert receipt.mode == "internet"
    assert receipt.booted is not None
    assert receipt.booted.pcrs == {4: PCR}
    (raw,) = scene.kept()
    assert read_receipt(raw) == receipt
    assert scene.uploaded == [(NEIGHBOUR, raw, Reach.INTERNET)]
    assert scene.named("plasma.done") == [{"jobs": 1, "node": receipt.node}]
    assert scene.problems() == ""


@pytest.mark.parametrize(
    "word", ["phase.mode=private", "phase.version=999", f"phase.rootfs=sha256:{'0' * 64}"]
)
def test_a_document_that_the_command_line_contradicts_runs_nothing(scene: Scene, word: str) -> None:
    cmdline = scene.paths.root / "proc" / "cmdline"
    cmdline.write_text(f"phase.mode=internet {word} quiet\n")
    assert scene.boot() == 1
    assert scene.receipts() == []
    assert scene.kept() == []
    assert scene.uploaded == []
    assert word in scene.problems()


def test_a_document_that_the_command_line_confirms_is_believed(scene: Scene) -> None:
    words = f"phase.mode=internet phase.version=2025.11.12 phase.rootfs={RUNNING}"
    (scene.paths.root / "proc" / "cmdline").write_text(f"{words} quiet\n")
    assert scene.boot() == 0


def test_a_machine_keeps_its_name_from_boot_to_boot(scene: Scene) -> None:
    scene.boot()
    scene.boot()
    first, second = scene.receipts()
    assert first.node == second.node
    assert len(scene.kept()) == 2


def test_jobs_of_the_rootfs_come_by_name_and_before_those_of_the_manifest(scene: Scene) -> None:
    put_job(scene.paths.jobs, "05-early.json", job("early"))
    put_module(scene.paths.cache, ENDS_AT_ONCE + b"\0\2\1x", ENDS_AT_ONCE + b"\0\2\1x")
    late = job("late", ENDS_AT_ONCE + b"\0\2\1x")
    hand_over(scene.paths, handed_over(jobs=[late, job("hello")]))
    assert scene.boot() == 1
    runs = [(receipt.job, receipt.outcome) for receipt in scene.receipts()]
    assert runs == [
        ("early", Outcome.EXITED),
        ("hello", Outcome.EXITED),
        ("late", Outcome.EXITED),
        ("hello", Outcome.NOT_RUN),
    ]


def test_in_private_mode_nothing_is_stored_uploaded_or_downloaded(scene: Scene) -> None:
    elsewhere = ENDS_AT_ONCE + b"\0\2\1x"
    put_module(scene.paths.cache, elsewhere)
    hand_over(scene.paths, handed_over(mode="private", jobs=[job("far", elsewhere)]))
    scene.boot()
    first, far = scene.receipts()
    assert (first.mode, first.exit) == ("private", 0)
    assert far.outcome is Outcome.NOT_RUN
    assert "Private mode downloads none" in far.reason
    assert list(scene.paths.data.iterdir()) == []
    assert scene.uploaded == []
    scene.boot()
    assert scene.receipts()[2].node != first.node


def test_without_a_cache_a_receipt_is_emitted_and_uploaded_but_not_stored(scene: Scene) -> None:
    scene.persists = False
    assert scene.boot() == 0
    assert len(scene.receipts()) == len(scene.uploaded) == 1
    assert list(scene.paths.data.iterdir()) == []


def test_a_failing_cache_is_reported_and_the_job_runs(scene: Scene) -> None:
    (scene.paths.data / "receipts").write_text("not a folder")
    (scene.paths.data / "node.key").write_text("not a key")
    assert scene.boot() == 0
    assert [receipt.exit for receipt in scene.receipts()] == [0]
    assert "cannot be stored" in scene.problems()
    (node,) = scene.named("plasma.node")
    assert "This run uses a temporary key" in node["note"]


def test_a_module_that_was_changed_on_the_disk_is_not_run(scene: Scene) -> None:
    put_module(scene.paths.jobs, ENDS_AT_ONCE, ENDS_AT_ONCE[:-1] + b"\0")
    hand_over(scene.paths, handed_over(mode="private"))
    assert scene.boot() == 1
    (receipt,) = scene.receipts()
    assert receipt.outcome is Outcome.NOT_RUN
    assert "is not what was signed" in receipt.reason


def test_a_job_that_cannot_be_read_keeps_no_other_from_running(scene: Scene) -> None:
    put_job(scene.paths.jobs, "20-bad.json", {"name": "bad"})
    assert scene.boot() == 0
    assert [receipt.job for receipt in scene.receipts()] == ["hello"]
    assert "20-bad.json" in scene.problems()


def test_a_missing_handoff_is_reported_and_nothing_runs(scene: Scene) -> None:
    (scene.paths.handoff / "handoff.json").unlink()
    assert scene.boot() == 1
    assert "boot this machine from its stick" in scene.problems()
    assert scene.receipts() == []


def test_a_provider_is_asked_again_while_the_network_comes_up(scene: Scene) -> None:
    scene.unwilling = [
        UploadFailed("no route", retryable=True),
        UploadFailed("it answered HTTP 503", retryable=True, retry_after=100_000),
    ]
    scene.boot()
    assert len(scene.uploaded) == 1
    first, second = scene.slept
    assert 1 <= first <= 2
    assert second == 30
    assert scene.problems() == ""


@pytest.mark.parametrize(("again", "asked"), [(True, ATTEMPTS), (False, 1)])
def test_a_provider_that_refuses_receipts_is_reported_once(
    scene: Scene,
    again: bool,  # noqa: FBT001 - a case
    asked: int,
) -> None:
    scene.unwilling = [UploadFailed("no", retryable=again) for _ in range(ATTEMPTS)]
    assert scene.boot() == 0
    assert len(scene.unwilling) == ATTEMPTS - asked
    assert scene.problems() == f"{NEIGHBOUR} did not accept the receipts: no."
    assert scene.named("plasma.uploaded") == []


def test_local_mode_uploads_to_the_local_network_only(scene: Scene) -> None:
    hand_over(scene.paths, handed_over(mode="local", sources={"rootfs": NEIGHBOUR}))
    scene.boot()
    assert [reach for _, _, reach in scene.uploaded] == [Reach.LAN]
