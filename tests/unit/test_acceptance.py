"""The acceptance table: each row of the specification once, and each test that it names exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import Outcome, Row, outcome, results, rows, stale_commits, stale_proofs
from tests.proofs import merge
from tests.results import ROOT
from tests.staleness import Staleness

ROW = Row("X1", "something", {"amd64": ("a.py::t",), "arm64": ("a.py::t", "b.py")}, None)


def test_every_test_that_a_row_names_exists() -> None:
    for row in rows():
        for name in {name for names in row.tests.values() for name in names}:
            path, _, function = name.partition("::")
            assert (ROOT / path).exists(), name
            if function:
                assert f"def {function.partition('[')[0]}(" in (ROOT / path).read_text(), name


def test_row_ids_are_unique() -> None:
    ids = [row.id for row in rows()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("ran", "amd64", "arm64"),
    [
        ({}, Outcome.NOT_RUN, Outcome.NOT_RUN),
        ({"a.py::t": True}, Outcome.PROVED, Outcome.NOT_RUN),
        ({"a.py::t[x]": True, "b.py::u": True}, Outcome.PROVED, Outcome.PROVED),
        (
            {"a.py::t[x]": True, "a.py::t[y]": False, "b.py::u": True},
            Outcome.FAILED,
            Outcome.FAILED,
        ),
        ({"a.py::t": None, "b.py::u": True}, Outcome.NOT_RUN, Outcome.NOT_RUN),
        ({"a.py::t": True, "b.py::u": True, "b.py::v": None}, Outcome.PROVED, Outcome.NOT_RUN),
        ({"a.py::tt": True}, Outcome.NOT_RUN, Outcome.NOT_RUN),
    ],
)
def test_a_row_is_proved_only_by_tests_that_ran_and_passed(
    ran: dict[str, bool | None], amd64: Outcome, arm64: Outcome
) -> None:
    assert outcome(ROW, "amd64", ran) is amd64
    assert outcome(ROW, "arm64", ran) is arm64


def test_a_test_in_a_class_counts_for_its_file(tmp_path: Path) -> None:
    case = '<testcase classname="tests.attacks.test_walk.TestStick" name="runTest" time="6" />'
    plain = '<testcase classname="tests.unit.test_b" name="test_c[x.y]" time="6" />'
    (tmp_path / "test.xml").write_text(
        f"<testsuites><testsuite>{case}{plain}</testsuite></testsuites>"
    )
    assert results(tmp_path) == {
        "tests/attacks/test_walk.py::TestStick::runTest": True,
        "tests/unit/test_b.py::test_c[x.y]": True,
    }


def test_a_sentence_that_a_comma_cuts_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "index.yaml"
    index.write_text("rows:\n  - {id: X1, says: this, and that, tests: [a.py]}\n")
    with pytest.raises(ValueError, match="'and that' is no key"):
        rows(index)


def test_a_row_without_tests_must_say_why(tmp_path: Path) -> None:
    index = tmp_path / "index.yaml"
    index.write_text("rows:\n  - {id: X1, says: something, amd64: [a.py]}\n")
    with pytest.raises(ValueError, match="X1: name its tests"):
        rows(index)


def test_a_row_names_the_commits_of_its_stale_proofs() -> None:
    stale = {"a.py::t[x]": "c2", "b.py::u": "c1", "other.py::t": "c3"}
    assert stale_commits(ROW, stale) == ("c1", "c2")


def test_a_test_that_ran_here_needs_no_recorded_proof(tmp_path: Path) -> None:
    proofs = merge({}, "soak", {"a.py::t": True, "b.py::u": True}, "0" * 12, "2026-01-01")
    assert stale_proofs(proofs, {"a.py::t": True}, Staleness(tmp_path)) == {"b.py::u": "0" * 12}
