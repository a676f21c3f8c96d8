"""Record what the long suites proved in docs/release/proofs.json.

`.ci/run` has no time for `make e2e-all`, `soak`, `faults` and `fuzz`. Each of those targets
leaves a JUnit file in build/results; `python -m tests.proofs record SUITE` merges it into the page,
each test with the commit that it ran on. `make acceptance` reads the page.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from junitparser import JUnitXml

from tests.results import ROOT, outcomes

PROOFS: Final = ROOT / "docs/release/proofs.json"
RESULTS: Final = ROOT / "build/results"
SUITES: Final = ("e2e-all", "soak", "faults", "fuzz", "model-check")
MANY: Final = 60
"""A function with more cases than this is recorded as one entry."""
_CASE: Final = re.compile(r"\[.*\]$", re.DOTALL)


class NotRecorded(Exception):
    """The results do not say what was tested; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The last result of one test, or of all cases of one function.

    Attributes:
        passed: number of cases that passed.
        failed: number of cases that failed.
        skipped: number of cases that were skipped.
        commit: the commit that they ran on.
        date: the day, UTC.
    """

    passed: int
    failed: int
    skipped: int
    commit: str
    date: str

    @property
    def outcome(self) -> bool | None:
        """Whether everything passed; None if something did not run."""
        if self.failed:
            return False
        return True if self.passed and not self.skipped else None


Proofs = Mapping[str, Mapping[str, Proof]]


def read(path: Path = PROOFS) -> dict[str, dict[str, Proof]]:
    """Return every proof by suite and test name."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text())
    return {
        suite: {name: Proof(**entry) for name, entry in tests.items()}
        for suite, tests in document.items()
    }


def proved(path: Path = PROOFS) -> dict[str, bool | None]:
    """Return by test name whether its last recorded run passed."""
    return {name: proof.outcome for tests in read(path).values() for name, proof in tests.items()}


def merge(
    known: Proofs, suite: str, ran: Mapping[str, bool | None], where: str, day: str
) -> Proofs:
    """Return ``known`` with the results of a run of ``suite``; other tests keep their entries."""
    fresh: dict[str, Proof] = {}
    for name, cases in _grouped(ran).items():
        fresh[name] = Proof(
            passed=cases.count(True),
            failed=cases.count(False),
            skipped=cases.count(None),
            commit=where,
            date=day,
        )
    tests = {**known.get(suite, {}), **fresh}
    return {**known, suite: dict(sorted(tests.items()))}


def write(proofs: Proofs, path: Path = PROOFS) -> None:
    """Replace the page."""
    document = {
        suite: {
            name: {field: getattr(proof, field) for field in Proof.__slots__}
            for name, proof in tests.items()
        }
        for suite, tests in sorted(proofs.items())
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def commit(tree: Path = ROOT) -> str:
    """Return the commit of the work tree.

    The page itself may differ from it: the suite before this one was recorded in it.

    Raises:
        NotRecorded: other tracked files differ from it, so that the results belong to no commit.
    """
    page = PROOFS.relative_to(ROOT)
    if _git(tree, "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{page}"):
        raise NotRecorded(
            "the work tree has uncommitted changes; commit them and run the suite again"
        )
    return _git(tree, "rev-parse", "--short=12", "HEAD")


def main() -> int:
    """Record one suite; the status is 1 if nothing could be recorded or a test of it failed."""
    arguments = argparse.ArgumentParser(prog="python -m tests.proofs", description=__doc__)
    arguments.add_argument("action", choices=["record"])
    arguments.add_argument("suite", choices=SUITES)
    suite = arguments.parse_args().suite
    results = RESULTS / f"{suite}.xml"
    try:
        ran = outcomes(JUnitXml.fromfile(str(results)))
    except OSError as error:
        sys.stderr.write(f"{suite} left no results ({error}); run `make {suite}`.\n")
        return 1
    if not ran:
        sys.stderr.write(f"{suite} ran no test; see what `make {suite}` printed.\n")
        return 1
    passed = sum(outcome is True for outcome in ran.values())
    recorded = "recorded"
    try:
        day = datetime.now(UTC).date().isoformat()
        write(merge(read(), suite, ran, commit(), day))
    except NotRecorded as error:
        recorded = f"not recorded: {error}"
    sys.stdout.write(f"{suite}: {passed} of {len(ran)} passed, {recorded}\n")
    return 0 if False not in ran.values() else 1


def _grouped(ran: Mapping[str, bool | None]) -> dict[str, list[bool | None]]:
    by_function: dict[str, list[str]] = {}
    for name in ran:
        by_function.setdefault(_CASE.sub("", name), []).append(name)
    grouped: dict[str, list[bool | None]] = {}
    for function, names in by_function.items():
        if len(names) > MANY:
            grouped[function] = [ran[name] for name in names]
        else:
            grouped.update({name: [ran[name]] for name in names})
    return grouped


def _git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=tree, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
