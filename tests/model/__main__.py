"""`make model-check`: check the machine as it is installed, and say what was found."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from phase_boot.machine.promela import promela
from phase_boot.machine.registry import installed_handlers
from tests.model.spin import check, missing


def main() -> int:
    """Return 0 if everything holds in every run."""
    if missing():
        sys.stderr.write(f"Install {' and '.join(missing())}: make setup does it.\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        verdict = check(promela(installed_handlers()), Path(folder))
    for error in verdict.errors:
        sys.stdout.write(f"Some run breaks a promise: {error}\n")
    for name in verdict.dead:
        sys.stdout.write(f"No run reaches {name}\n")
    if verdict.holds:
        sys.stdout.write(f"The machine keeps its promises in all {verdict.states} states.\n")
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main())
