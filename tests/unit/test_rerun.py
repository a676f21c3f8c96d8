"""Boots that failed under load are run once more, alone, up to a number."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rerun import MAX_UNSTEADY, failed, main
from tests.results import ROOT

MAX_BOOTS = 40


def results(folder: Path, **outcomes: bool) -> Path:
    cases = "".join(
        f'<testcase classname="tests.e2e.test_x" name="{name}" time="1">'
        + ("" if passed else '<failure message="m">text</failure>')
        + "</testcase>"
        for name, passed in outcomes.items()
    )
    path = folder / "e2e.xml"
    path.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    return path


def test_failed_boots_are_read_from_the_results(tmp_path: Path) -> None:
    assert failed(results(tmp_path, test_a=True, test_b=False)) == ("tests/e2e/test_x.py::test_b",)


def test_more_failures_than_allowed_are_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {f"test_{number}": False for number in range(MAX_UNSTEADY + 1)}
    assert main(["--results", str(results(tmp_path, **names))]) == 1
    assert list(tmp_path.glob("rerun-*")) == []
    assert "more than" in capsys.readouterr().out


def test_a_run_that_failed_without_a_failed_boot_stays_failed(tmp_path: Path) -> None:
    assert main(["--results", str(results(tmp_path, test_a=True))]) == 1


def test_a_boot_that_passes_alone_is_named_unsteady(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = tmp_path / "tests/e2e"
    tests.mkdir(parents=True)
    (tests / "test_x.py").write_text(
        "import pytest\n@pytest.mark.e2e\ndef test_good(): pass\n"
        "@pytest.mark.e2e\ndef test_bad(): assert False\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = e2e: boots\n")
    folder = results(tmp_path, test_good=False, test_bad=False)
    assert main(["--results", str(folder), "--root", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "unsteady: tests/e2e/test_x.py::test_good\n" in printed
    assert "failed twice: tests/e2e/test_x.py::test_bad\n" in printed
    folder = results(tmp_path, test_good=False)
    assert main(["--results", str(folder), "--root", str(tmp_path)]) == 0


def test_a_boot_that_cannot_be_run_again_counts_as_failed_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--results", str(results(tmp_path, test_gone=False))]) == 1
    assert "failed twice: tests/e2e/test_x.py::test_gone" in capsys.readouterr().out


def test_make_e2e_boots_at_most_forty_times() -> None:
    recipe = (ROOT / "image/lab/lab.mk").read_text()
    chosen = re.search(r'^e2e:.*\n.* pytest -m "([^"]*)"', recipe, re.MULTILINE)
    assert chosen is not None
    command = (sys.executable, "-m", "pytest", "-m", chosen[1], "--collect-only", "-q", "tests/e2e")
    collected = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    boots = [line for line in collected.stdout.splitlines() if "::" in line]
    assert 0 < len(boots) <= MAX_BOOTS
