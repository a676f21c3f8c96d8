"""`phase-boot replay` of a hand-over, and of a journal beside its manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.injection import Plan
from phase_boot.drill.run import Run, run_scenario
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY
from phase_boot.drill.sample_root import NEW_PUBLISHER
from phase_boot.drill.scenarios import SCENARIOS
from phase_boot.handoff.document import document

CommandResult = tuple[int, str, str]


@pytest.fixture(scope="module")
def boot() -> Run:
    return run_scenario(SCENARIOS["internet"](), Plan())


@pytest.fixture
def handover(boot: Run, tmp_path: Path) -> Path:
    assert boot.boot is not None
    assert boot.boot.manifest is not None
    path = tmp_path / "handoff.json"
    path.write_bytes(
        document(
            mode="internet",
            manifest=boot.boot.manifest,
            network=None,
            sources=dict(boot.boot.sources),
            journal=boot.scenario.journal.lines[:-2],
        )
    )
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    def run_command(*words: object) -> CommandResult:
        status = main(["replay", *map(str, words)])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run_command


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = json.loads(path.read_bytes())
    change(table)
    path.write_text(json.dumps(table))


def edit_event(table: dict[str, Any], event: str, **fields: object) -> None:
    lines = [json.loads(line) for line in table["journal"]]
    table["journal"] = [
        json.dumps(line | fields if line["event"] == event else line) for line in lines
    ]


def test_a_hand_over_is_replayed_and_its_manifest_checked(
    run: Callable[..., CommandResult], handover: Path
) -> None:
    status, out, err = run(handover, "--key", NEW_PUBLISHER.keyid)
    assert (status, err) == (0, "")
    assert out.endswith("verify -> fetch -> kexec\n")


def test_without_a_key_the_output_states_that_no_signature_was_checked(
    run: Callable[..., CommandResult], handover: Path
) -> None:
    status, _, err = run(handover)
    assert (status, err) == (
        0,
        "The manifest's signatures are not checked: name --key or --root.\n",
    )


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "version": lambda table: table.update(version="2025.11.13"),
    "version verified": lambda table: edit_event(table, "manifest.verified", version="2025.11.13"),
    "sha256": lambda table: edit_event(table, "fetch.done", sha256="0" * 64),
    "size": lambda table: edit_event(table, "fetch.done", size=1),
    "mode": lambda table: table.update(mode="local"),
    "signers": lambda table: table.update(signers=[UNTRUSTED_KEY.keyid]),
    "keys": lambda table: edit_event(table, "manifest.verified", keys=[UNTRUSTED_KEY.keyid]),
    "manifest": lambda table: table.update(manifest=table["manifest"].replace("11.12", "11.13")),
    "source": lambda table: table["sources"].update(kernel="http://other"),
    "journal": lambda table: table.update(journal=table["journal"][1:]),
    "no journal": lambda table: table.update(journal=[]),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_hand_over_is_refused(
    run: Callable[..., CommandResult], handover: Path, name: str
) -> None:
    edit(handover, EDITS[name])
    status, out, err = run(handover, "--key", NEW_PUBLISHER.keyid)
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_a_manifest_of_another_publisher_is_refused(
    run: Callable[..., CommandResult], handover: Path
) -> None:
    status, _, err = run(handover, "--key", UNTRUSTED_KEY.keyid)
    assert status == 1
    assert "[signature.untrusted]" in err


def test_a_private_boot_has_no_journal_to_replay(
    run: Callable[..., CommandResult], boot: Run, tmp_path: Path
) -> None:
    assert boot.boot is not None
    assert boot.boot.manifest is not None
    path = tmp_path / "handoff.json"
    path.write_bytes(
        document(mode="private", manifest=boot.boot.manifest, network=None, sources={}, journal=())
    )
    assert run(path, "--key", NEW_PUBLISHER.keyid) == (
        0,
        "A Private boot hands over no journal.\n",
        "",
    )


def test_a_journal_is_compared_with_its_manifest(
    run: Callable[..., CommandResult], boot: Run, tmp_path: Path
) -> None:
    assert boot.boot is not None
    assert boot.boot.manifest is not None
    journal, manifest = tmp_path / "j", tmp_path / "m"
    lines = boot.scenario.journal.lines
    journal.write_text("".join(f"{line}\n" for line in lines))
    manifest.write_bytes(boot.boot.manifest.raw)
    words = ["--manifest", manifest, "--key", NEW_PUBLISHER.keyid]
    assert run(journal, *words)[0] == 0
    digest = boot.boot.manifest.manifest.artifacts["initramfs"].digest.hex
    journal.write_text(journal.read_text().replace(digest, "0" * 64))
    status, _, err = run(journal, *words)
    assert status == 1
    assert "the sha256 of initramfs" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--key", NEW_PUBLISHER.keyid], "does not contain the manifest"),
        (["--root", "r.json"], "does not contain the manifest"),
    ],
)
def test_a_key_for_a_journal_alone_is_refused(
    run: Callable[..., CommandResult], boot: Run, tmp_path: Path, words: list[str], why: str
) -> None:
    journal = tmp_path / "j"
    journal.write_text("".join(f"{line}\n" for line in boot.scenario.journal.lines))
    status, out, err = run(journal, *words)
    assert (status, out) == (2, "")
    assert why in err
