"""The recorded results of the long suites: each entry names a test that exists and its commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.proofs import MANY, PROOFS, NotRecorded, Proof, commit, merge, proved, read, write
from tests.results import ROOT


def test_every_recorded_test_exists() -> None:
    for name in proved():
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), name
        if not path.startswith("tests/fuzz/"):
            assert f"def {function.partition('[')[0]}(" in (ROOT / path).read_text(), name


def test_a_second_run_replaces_its_own_tests_and_keeps_the_others(tmp_path: Path) -> None:
    page = tmp_path / "proofs.json"
    first = merge({}, "soak", {"a.py::t[x]": True, "a.py::u": False}, "c1", "2026-01-01")
    write(merge(first, "soak", {"a.py::u": True}, "c2", "2026-01-02"), page)
    assert read(page)["soak"] == {
        "a.py::t[x]": Proof(passed=1, failed=0, skipped=0, commit="c1", date="2026-01-01"),
        "a.py::u": Proof(passed=1, failed=0, skipped=0, commit="c2", date="2026-01-02"),
    }


def test_only_what_passed_counts_as_proved(tmp_path: Path) -> None:
    page = tmp_path / "proofs.json"
    write(merge({}, "soak", {"passed": True, "failed": False, "skipped": None}, "c", "d"), page)
    assert proved(page) == {"passed": True, "failed": False, "skipped": None}


def test_a_function_with_many_cases_is_one_entry_that_one_failure_spoils(tmp_path: Path) -> None:
    page = tmp_path / "proofs.json"
    ran: dict[str, bool | None] = {f"a.py::t[{number}]": number > 0 for number in range(MANY + 1)}
    write(merge({}, "faults", ran, "c", "d"), page)
    entry = read(page)["faults"]["a.py::t"]
    assert (entry.passed, entry.failed, entry.outcome) == (MANY, 1, False)


def test_results_of_a_changed_tree_belong_to_no_commit_but_the_page_may_change(
    tmp_path: Path,
) -> None:
    page, module = tmp_path / PROOFS.relative_to(ROOT), tmp_path / "module.py"
    page.parent.mkdir(parents=True)

    def git(*arguments: str) -> str:
        person = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        argv = ["git", *person, *arguments]
        done = subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for file in (page, module):
        file.write_text("{}")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    head = git("rev-parse", "--short=12", "HEAD")
    page.write_text('{"faults": {}}')
    assert commit(tmp_path) == head
    module.write_text("changed")
    with pytest.raises(NotRecorded):
        commit(tmp_path)
