"""`make acceptance`: each row of SPEC, the tests that prove it, and how their last run went.

Rows come from docs/release/index.yaml. Results come from the JUnit files that `make test` and
`make e2e` leave in build/results, and for the long suites from docs/release/proofs.json. A row that
rests on a proof whose inputs changed since is marked `stale since COMMIT`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import yaml
from junitparser import JUnitXml

from phase_boot.app import edge
from tests.proofs import Proofs, proved, read
from tests.results import ROOT, outcomes
from tests.staleness import Staleness

INDEX: Final = ROOT / "docs/release/index.yaml"
RESULTS: Final = ROOT / "build/results"
ARCHITECTURES: Final = ("amd64", "arm64")


class Outcome(StrEnum):
    """How a row stands on one architecture."""

    PROVED = "proved"
    FAILED = "FAILED"
    NOT_RUN = "not run"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of SPEC: its tests by architecture, and why it has none where it has none."""

    id: str
    says: str
    tests: Mapping[str, tuple[str, ...]]
    open: str | None


def rows(path: Path = INDEX) -> tuple[Row, ...]:
    """Read the index.

    Raises:
        ValueError: a row names no test on an architecture and no reason for it.
    """
    return tuple(_row(entry) for entry in yaml.safe_load(path.read_text())["rows"])


def _row(entry: Mapping[str, object]) -> Row:
    if unknown := entry.keys() - {"id", "says", "tests", "open", *ARCHITECTURES}:
        raise ValueError(f"{entry['id']}: {min(unknown)!r} is no key; quote what holds a comma")
    both = _names(entry.get("tests"))
    tests = {arch: both + _names(entry.get(arch)) for arch in ARCHITECTURES}
    reason = entry.get("open")
    if not all(tests.values()) and not reason:
        raise ValueError(f"{entry['id']}: name its tests on both architectures, or say `open:` why")
    return Row(str(entry["id"]), str(entry["says"]), tests, str(reason) if reason else None)


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def results(folder: Path = RESULTS) -> dict[str, bool | None]:
    """Return by test name whether it passed; None means that it was skipped.

    A boot that failed under load and passed alone is in a file `rerun-*.xml`, which counts last.
    """
    found: dict[str, bool | None] = {}
    for path in sorted(folder.glob("*.xml"), key=lambda path: path.name.startswith("rerun-")):
        found |= outcomes(JUnitXml.fromfile(str(path)))
    return found


def outcome(row: Row, arch: str, ran: Mapping[str, bool | None]) -> Outcome:
    """Judge one row on one architecture."""
    if row.open or not row.tests[arch]:
        return Outcome.OPEN
    passed = [_passed(name, ran) for name in row.tests[arch]]
    if False in passed:
        return Outcome.FAILED
    return Outcome.NOT_RUN if None in passed else Outcome.PROVED


def stale_commits(row: Row, stale: Mapping[str, str]) -> tuple[str, ...]:
    """Return the commits of the stale proofs that the row rests on, in alphabetical order."""
    names = {name for tests in row.tests.values() for name in tests}
    return tuple(
        sorted({commit for test, commit in stale.items() for name in names if _is_of(test, name)})
    )


def stale_proofs(
    proofs: Proofs, ran: Mapping[str, bool | None], staleness: Staleness
) -> dict[str, str]:
    """Return the commit of each stale proof by test name; a test that just ran needs no proof."""
    return {
        name: proof.commit
        for suite, tests in proofs.items()
        for name, proof in tests.items()
        if name not in ran and staleness.is_stale(suite, name, proof)
    }


def _is_of(test: str, name: str) -> bool:
    """Say whether ``test`` is ``name``, a case of that function, or in that file or folder."""
    return test == name or test.startswith((f"{name}[", f"{name}::", f"{name}/"))


def _passed(name: str, ran: Mapping[str, bool | None]) -> bool | None:
    """A name stands for itself or for all tests of that function or file."""
    hits = [result for test, result in ran.items() if _is_of(test, name)]
    if not hits or None in hits:
        return None if False not in hits else False
    return all(hits)


def main() -> int:
    """Print the table; the status is 1 if a row that has tests failed or was not run."""
    fresh = results()
    ran = {**proved(), **fresh}
    stale = stale_proofs(read(), fresh, Staleness())
    bad = 0
    sys.stdout.write(f"{'row':<7}{'amd64':<10}{'arm64':<10}what\n")
    for row in rows():
        stand = [outcome(row, arch, ran) for arch in ARCHITECTURES]
        bad += any(one in {Outcome.FAILED, Outcome.NOT_RUN} for one in stand)
        why = f" ({row.open})" if row.open else ""
        since = "".join(f" [stale since {commit}]" for commit in stale_commits(row, stale))
        sys.stdout.write(f"{row.id:<7}{stand[0]:<10}{stand[1]:<10}{row.says}{why}{since}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(edge.run(main))
