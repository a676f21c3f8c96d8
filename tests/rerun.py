"""Run the failed boots of `make e2e` once more, each alone: `python -m tests.rerun`.

An emulated boot under load may fail where the same boot alone passes. Such a boot is printed as
`unsteady: NAME` and counts as passed. The status is 1 if a boot fails again, or if more than
`MAX_UNSTEADY` boots failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from junitparser import JUnitXml

from tests.results import ROOT, outcomes

RESULTS: Final = ROOT / "build/results"
MAX_UNSTEADY: Final = 2


def failed(results: Path) -> tuple[str, ...]:
    """Return the names of the tests in ``results`` that failed."""
    ran = outcomes(JUnitXml.fromfile(str(results)))
    return tuple(name for name, passed in ran.items() if passed is False)


def rerun(name: str, results: Path, root: Path) -> bool:
    """Run one boot alone, and return whether it passed."""
    command = (sys.executable, "-m", "pytest", "-m", "e2e", f"--junitxml={results}", name)
    subprocess.run(command, cwd=root, check=False)
    return results.exists() and outcomes(JUnitXml.fromfile(str(results))).get(name) is True


def main(argv: list[str] | None = None) -> int:
    """Judge the boots that failed."""
    arguments = argparse.ArgumentParser(prog="python -m tests.rerun", description=__doc__)
    arguments.add_argument("--results", type=Path, default=RESULTS / "e2e.xml")
    arguments.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    asked = arguments.parse_args(argv)
    results = asked.results
    names = failed(results)
    if not names:
        sys.stdout.write(
            "rerun: the first run names no failed boot, so its failure has another cause\n"
        )
        return 1
    if len(names) > MAX_UNSTEADY:
        sys.stdout.write(
            f"rerun: {len(names)} boots failed, more than {MAX_UNSTEADY}: not run again\n"
        )
        return 1
    again = [
        rerun(name, results.with_name(f"rerun-{number}.xml"), asked.root)
        for number, name in enumerate(names)
    ]
    for name, passed in zip(names, again, strict=True):
        sys.stdout.write(f"{'unsteady' if passed else 'failed twice'}: {name}\n")
    return 0 if all(again) else 1


if __name__ == "__main__":
    sys.exit(main())
