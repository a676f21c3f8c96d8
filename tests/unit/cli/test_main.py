"""The arguments of the command line, and its errors."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.injection import Plan
from phase_boot.drill.run import run_scenario
from phase_boot.drill.sample_manifest import PUBLISHER, document, signed
from phase_boot.drill.scenarios import SCENARIOS
from phase_boot.trust.signatures import Trust
from policies.read import read_policy


def test_a_policy_for_a_site_is_one_the_daemon_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "--mode", "private", "--key", PUBLISHER.keyid, "--channel", "lab"]) == 0
    path = tmp_path / "policy.toml"
    path.write_text(capsys.readouterr().out)
    policy = read_policy(path)
    assert (policy.mode, policy.channel, policy.cache_enabled) == ("private", "lab", False)
    assert policy.trust == Trust(frozenset({PUBLISHER.keyid}), 1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--key", "somebody"], "key id"),
        (["--key", PUBLISHER.keyid, "--mode", "open"], "'open' is not a valid Mode"),
        (["--key", PUBLISHER.keyid, "--threshold", "2"], "threshold is 2"),
    ],
)
def test_a_policy_that_would_be_refused_is_not_printed(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", *words]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert reason in output.err


def test_a_closed_pipe_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(signed(document()))
    words = ["verify", str(tmp_path / "manifest.json"), "--key", PUBLISHER.keyid]
    read, write = os.pipe()
    os.close(read)
    # A process that another thread forked meanwhile holds the reader until it starts a program.
    left = select.poll()
    left.register(write, 0)
    assert left.poll(10_000) == [(write, select.POLLERR)]
    done = subprocess.run(
        [sys.executable, "-u", "-m", "phase_boot.cli", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_desktop_is_never_booted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon"]) == 2
    assert "use --dry-run" in capsys.readouterr().err


def test_a_dry_run_without_a_policy_names_the_command_that_writes_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["daemon", "--dry-run"]) == 2
    assert "phase-boot policy" in capsys.readouterr().err


def test_a_journal_is_replayed_or_its_fault_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "j.jsonl"
    lines = run_scenario(SCENARIOS["internet"](), Plan()).scenario.journal.lines
    journal.write_text("".join(f"{line}\n" for line in lines))
    assert main(["replay", str(journal)]) == 0
    assert capsys.readouterr().out.endswith("fetch -> kexec -> target\n")
    journal.write_text("".join(f"{line}\n" for line in lines).replace("configured", "linked"))
    assert main(["replay", str(journal)]) == 1
    assert "line 4: init has no edge for linked" in capsys.readouterr().err
    journal.write_text("")
    assert main(["replay", str(journal)]) == 1
    assert "it is empty, so it is no journal" in capsys.readouterr().err
    journal.write_text("[" * 100_000)
    assert main(["replay", str(journal)]) == 1
    assert "line 1: not an event" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fetch", "daemon"])
def test_a_journal_that_cannot_be_written_is_an_error_before_anything_is_fetched(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "--key", PUBLISHER.keyid]) == 0
    (tmp_path / "policy").write_text(capsys.readouterr().out)
    (tmp_path / "file").touch()
    words = {
        "fetch": ["http://127.0.0.1:9/stable/amd64/manifest.json"],
        "daemon": ["--dry-run", "--mode", "internet"],
    }
    place = ["--store", f"{tmp_path}/store", "--policy", f"{tmp_path}/policy"]
    for journal, cause in ((tmp_path, "Is a directory"), (tmp_path / "file/j", "File exists")):
        assert main([command, *words[command], *place, "--journal", str(journal)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert f"cannot be written ({cause})" in err
        assert "name another file with --journal" in err
        assert not (tmp_path / "store").exists()
