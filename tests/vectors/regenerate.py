"""`python -m tests.vectors.regenerate [FILE]`: write trust.json, always the same bytes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from phase_boot.app import edge
from tests.vectors import manifests, receipts, records, roots, states

FILE: Final = Path(__file__).with_name("trust.json")


def vectors() -> str:
    """Return the file."""
    modules = (manifests, roots, states, receipts, records)
    rows = [case.row() for module in modules for case in module.cases()]
    return json.dumps({"format": "phase-boot-vectors-v1", "cases": rows}, indent=1) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the file."""
    path = Path(arguments[0]) if arguments else FILE
    path.write_text(vectors(), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(edge.run(lambda: main(sys.argv[1:])))
