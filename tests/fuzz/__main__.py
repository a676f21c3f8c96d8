"""`python -m tests.fuzz [TARGET ...] --seconds N`: fuzz one target after another; a table."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from junitparser import Failure, JUnitXml, TestCase, TestSuite

from phase_boot.app import edge
from tests.fuzz.child import WORK
from tests.fuzz.target import CORPUS, NAMES

HEADER: Final = f"{'target':12} {'executions':>12} {'per second':>11} {'corpus':>7}  result"
RESULTS: Final = Path("build/results/fuzz.xml")
GRACE_SECONDS: Final = 120
"""How much longer than asked a target may take: to start, and to end its last case."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one target did."""

    name: str
    executions: int
    per_second: int
    corpus: int
    result: str

    def __str__(self) -> str:
        return (
            f"{self.name:12} {self.executions:12} {self.per_second:11} {self.corpus:7}  "
            f"{self.result}"
        )


def main() -> int:
    """Return 0 if no case broke a target."""
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    arguments.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    arguments.add_argument("--seconds", type=int, default=60, help="for each target")
    asked = arguments.parse_args()
    if unknown := set(asked.targets) - set(NAMES):
        arguments.error(f"no target is called {min(unknown)}; there are {', '.join(NAMES)}")
    rows = []
    _tell(HEADER)
    for name in asked.targets or NAMES:
        rows.append(fuzzed(name, asked.seconds))
        _tell(rows[-1])
    write_results(rows, asked.seconds)
    return 0 if all(row.result == "ok" for row in rows) else 1


def fuzzed(name: str, seconds: int) -> Row:
    """Fuzz one target in a process of its own, whose output goes to its log."""
    log = WORK / name / "log"
    log.parent.mkdir(parents=True, exist_ok=True)
    known = cases(CORPUS / name)
    with log.open("wb") as output:
        try:
            status: int | str = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.child", name, str(seconds)],
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds + GRACE_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"not done after {seconds + GRACE_SECONDS} s"
    log_text = log.read_text(errors="replace")
    executions = _number(r"stat::number_of_executed_units: *(\d+)", log_text)
    broken = sorted(cases(CORPUS / name) - known)
    result = "ok"
    if status != 0 or broken or not executions:
        result = f"FAILED ({status}): {', '.join(broken) or 'no case kept'}; see {log}"
    per_second = _number(r"stat::average_exec_per_sec: *(\d+)", log_text)
    return Row(name, executions, per_second, _number(r".* corp: (\d+)/", log_text), result)


def write_results(rows: Sequence[Row], seconds: int, path: Path = RESULTS) -> None:
    """Leave a JUnit file, one case for each target, as the other suites do."""
    suite = TestSuite("fuzz")
    for row in rows:
        case = TestCase(f"{seconds} s", f"tests.fuzz.{row.name}")
        if row.result != "ok":
            case.result = [Failure(row.result)]
        suite.add_testcase(case)
    path.parent.mkdir(parents=True, exist_ok=True)
    xml = JUnitXml()
    xml.add_testsuite(suite)
    xml.write(str(path))


def cases(folder: Path) -> set[str]:
    """Return the names of the cases in ``folder``."""
    return {file.name for file in folder.glob("*")}


def _tell(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _number(pattern: str, text: str) -> int:
    """Return the last number that stands as ``pattern`` says, 0 if none does."""
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


if __name__ == "__main__":
    sys.exit(edge.run(main))
