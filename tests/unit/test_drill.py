"""`phase-boot drill`: repeatable output and a meaningful exit status."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from phase_boot.cli import main as cli
from phase_boot.drill import cli as drill_cli
from phase_boot.drill import invariants
from phase_boot.drill.injection import Plan
from phase_boot.drill.run import Run, run_scenario
from phase_boot.drill.scenarios import private


def drill(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phase_boot.cli", "drill", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_seed_gives_the_same_output_in_every_process() -> None:
    first, again = (drill("--seed", "7", "--faults", "3") for _ in range(2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout == again.stdout
    assert first.stdout.startswith("Drill 7: ")


def test_faults_are_marked_and_every_invariant_is_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["drill", "--seed", "13", "--faults", "3"]) == 0
    output = capsys.readouterr().out
    struck = re.search(r"after \d+ seconds and (\d+) faults?\.", output)
    assert struck is not None
    assert output.count("!!") == int(struck[1]) >= 3
    assert "init -> net_up" in output
    for says in invariants.INVARIANTS:
        assert f"  ok      {says}" in output


@pytest.mark.parametrize("mode", ["internet", "local", "private"])
def test_the_mode_can_be_chosen(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["drill", "--seed", "1", "--mode", mode, "--faults", "0"]) == 0
    assert f"mode {mode}" in capsys.readouterr().out


def test_without_a_seed_a_random_one_is_drawn_and_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["drill"]) == 0
    output = capsys.readouterr().out
    seed = output.removeprefix("Drill ").partition(":")[0]
    assert cli.main(["drill", "--seed", seed]) == 0
    assert capsys.readouterr().out == output


def test_a_broken_invariant_is_printed_and_fails_the_drill() -> None:
    lines: list[str] = []
    run = _a_run()
    run.descriptors = {99}
    assert drill_cli.print_verdicts(run, lines.append) == 1
    assert "  BROKEN  every descriptor is closed\n" in lines
    assert drill_cli.print_verdicts(replace(run, descriptors=set()), lines.append) == 0


def _a_run() -> Run:
    return run_scenario(private(), Plan())
