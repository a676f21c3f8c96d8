"""`make mutants`: change phase_boot/trust in every small way and see that some test notices.

It runs in a copy of the tree, and fails if what no test noticed is not what docs/mutants.md lists.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.app import edge

PAGE: Final = Path(__file__).parents[1] / "docs" / "mutants.md"
UNNOTICED: Final = frozenset({"survived", "no tests", "suspicious"})
"""A timeout is noticed: the mutant waits for ever."""
SECONDS: Final = 2400.0
_RESULT: Final = re.compile(r"^\s+(\S+): ([a-z ]+)$", re.MULTILINE)
_ENTRY: Final = re.compile(
    r"^- `(?P<function>[\w.]+)`: (?P<reason>.+(?:\n  .+)*?)\n"
    r"  ```diff\n(?P<diffs>(?:.*\n)+?)  ```$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: in which function, and which lines became which."""

    function: str
    diff: tuple[str, ...]

    def __str__(self) -> str:
        """As the page lists it."""
        lines = "\n".join(f"  {line}" for line in self.diff)
        return f"- `{self.function}`: why?\n  ```diff\n{lines}\n  ```"


def listed(page: str) -> dict[Mutant, str]:
    """Return the mutants that the page lists, with the reason for each.

    An entry is a function, a reason, and the changes, an empty line between two of them.
    """
    return {
        Mutant(entry["function"], tuple(line.strip() for line in diff.splitlines())): entry[
            "reason"
        ]
        for entry in _ENTRY.finditer(page)
        for diff in entry["diffs"].rstrip().split("\n\n")
    }


def read_mutant(name: str, shown: str) -> Mutant:
    """Return the mutant that mutmut calls ``name``, from what it shows of it."""
    lines = shown.splitlines()
    diff = [line for line in lines if re.match(r"[-+](?!--|\+\+)", line)]
    return Mutant(function_of(name), tuple(line[0] + " " + line[1:].strip() for line in diff))


def function_of(name: str) -> str:
    """Return the function that a mutant's name stands for, without the tool's decoration."""
    module, _, rest = name.rpartition("__mutmut_")[0].rpartition(".")
    rest = re.sub(r"^x(?:ǁ(\w+)ǁ|_)", lambda found: f"{found[1]}." if found[1] else "", rest)
    return f"{module}.{rest}"


def unnoticed() -> list[Mutant]:
    """Return what no test noticed in the last run."""
    results = _RESULT.findall(_mutmut("results"))
    names = [name for name, status in results if status in UNNOTICED]
    return [read_mutant(name, _mutmut("show", name)) for name in names]


def main() -> int:
    """Run the mutants, and compare the survivors with the page."""
    command = [sys.executable, "-m", "mutmut", "run"]
    with Path("mutmut.log").open("w") as log:
        # It draws a spinner, megabytes of it.
        subprocess.run(command, check=True, timeout=SECONDS, stdout=log, stderr=log)
    statuses = Counter(status for _, status in _RESULT.findall(_mutmut("results", "--all", "true")))
    lines = [f"{statuses.total()} mutants: {', '.join(f'{n} {s}' for s, n in statuses.items())}"]
    found, known = unnoticed(), listed(PAGE.read_text())
    fresh = [mutant for mutant in found if mutant not in known]
    gone = [mutant for mutant in known if mutant not in found]
    lines += [f"No test notices this, and docs/mutants.md does not say why:\n{m}" for m in fresh]
    lines += [f"Noticed now, or gone: take it from docs/mutants.md.\n{mutant}" for mutant in gone]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if fresh or gone or "not checked" in statuses else 0


def _mutmut(*words: str) -> str:
    command = [sys.executable, "-m", "mutmut", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(edge.run(main))
