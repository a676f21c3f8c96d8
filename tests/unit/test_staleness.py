"""A proof is stale once an input of its test changed, and no earlier."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.proofs import SUITES, Proof
from tests.staleness import FOLDERS, Staleness, imported

TEST = "tests/e2e/test_boot.py::test_it_boots[amd64]"
FILES = {
    "image/base/config": "y",
    "image/bench/results/boot.json": "[]",
    "phase_boot/cli/main.py": "",
    "docs/page.md": "",
    "uv.lock": "",
    "tests/__init__.py": "",
    "tests/conftest.py": "",
    "tests/e2e/conftest.py": "",
    "tests/e2e/test_boot.py": "from tests.support import disks\nRUN = '-m tests.support.watcher'\n",
    "tests/e2e/test_other.py": "",
    "tests/support/disks.py": "from tests.support.sectors import SIZE\n",
    "tests/support/sectors.py": "SIZE = 512\n",
    "tests/support/watcher.py": "",
    "tests/support/unused.py": "",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def git(tree: Path, *words: str) -> str:
    author = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    command = ["git", *author, *words]
    return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout


def commit(tree: Path) -> None:
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "a change", "--allow-empty")


def proof(tree: Path) -> Proof:
    head = git(tree, "rev-parse", "--short=12", "HEAD").strip()
    return Proof(passed=1, failed=0, skipped=0, commit=head, date="2026-01-01")


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("image/base/config", True),
        ("image/bench/results/boot.json", False),
        ("phase_boot/cli/main.py", True),
        ("phase_boot/added.py", True),
        ("uv.lock", True),
        ("tests/conftest.py", True),
        ("tests/e2e/conftest.py", True),
        ("tests/e2e/test_boot.py", True),
        ("tests/support/disks.py", True),
        ("tests/support/sectors.py", True),
        ("tests/support/watcher.py", True),
        ("tests/support/unused.py", False),
        ("tests/e2e/test_other.py", False),
        ("docs/page.md", False),
    ],
)
@pytest.mark.parametrize("committed", [True, False])
def test_a_change_of_an_input_makes_a_proof_stale(
    tree: Path, changed: str, *, stale: bool, committed: bool
) -> None:
    known = proof(tree)
    assert not Staleness(tree).is_stale("e2e-all", TEST, known)
    with (tree / changed).open("a") as file:
        file.write("\n# changed\n")
    git(tree, "add", "-A")
    if committed:
        commit(tree)
    assert Staleness(tree).is_stale("e2e-all", TEST, known) is stale


@pytest.mark.parametrize("gone", ["image/base/config", "tests/support/watcher.py"])
def test_an_input_that_is_removed_or_moved_makes_a_proof_stale(tree: Path, gone: str) -> None:
    known = proof(tree)
    git(tree, "mv", gone, "docs/moved")
    assert Staleness(tree).is_stale("e2e-all", TEST, known)


def test_an_image_is_no_input_of_a_suite_that_boots_nothing(tree: Path) -> None:
    known = proof(tree)
    (tree / "image/base/config").write_text("n")
    assert not Staleness(tree).is_stale("faults", TEST, known)


def test_a_commit_that_the_clone_does_not_have_is_stale(tree: Path) -> None:
    unknown = Proof(passed=1, failed=0, skipped=0, commit="0123456789ab", date="2026-01-01")
    assert Staleness(tree).is_stale("e2e-all", TEST, unknown)


def test_the_inputs_of_a_test_are_found_across_imports_and_module_names(tree: Path) -> None:
    found = {str(path.relative_to(tree)) for path in imported(tree, TEST) if path.exists()}
    assert found == {
        "tests/conftest.py",
        "tests/e2e/conftest.py",
        "tests/e2e/test_boot.py",
        "tests/support/disks.py",
        "tests/support/sectors.py",
        "tests/support/watcher.py",
    }


def test_every_suite_lists_its_inputs() -> None:
    assert set(FOLDERS) == set(SUITES)
