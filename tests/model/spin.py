"""Running spin over a model: what it finds wrong, and what no run ever reaches."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOOLS: Final = ("spin", "gcc")
SECONDS: Final = 60.0
SAFETY: Final = ("-DSAFETY", "-DNOREDUCE")
CYCLES: Final = ("-DNP", "-DNOREDUCE")
DEPTH: Final = 100_000
_ERROR: Final = re.compile(r"^pan:\d+: (.*?)(?: \(at depth \d+\))?$", re.MULTILINE)
_UNREACHED: Final = re.compile(r"^\t.*?:(\d+), state \d+", re.MULTILINE)
_NAME: Final = re.compile(r"/\* (.*?) \*/")
_STATES: Final = re.compile(r"^ *(\d+) states, stored", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What spin says of a model.

    Attributes:
        errors: what does not hold in some run.
        dead: states and edges, by name, that no run reaches.
        states: how many states of the model were looked at.
    """

    errors: tuple[str, ...]
    dead: tuple[str, ...]
    states: int

    @property
    def holds(self) -> bool:
        """Whether all is well, and anything was looked at."""
        return not self.errors and not self.dead and self.states > 0


def missing() -> list[str]:
    """Return the tools that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def check(model: str, folder: Path) -> Verdict:
    """Search every run of ``model``: for what is asserted, for deadlocks, for hasty cycles."""
    (folder / "machine.pml").write_text(model)
    _run(folder, "spin", "-o3", "-a", "machine.pml")
    safety = _searched(folder, SAFETY)
    errors = _ERROR.findall(safety) or _ERROR.findall(_searched(folder, CYCLES, "-l"))
    # A search that stopped at an error has not reached everything.
    dead = () if errors else _dead(model, safety)
    return Verdict(tuple(dict.fromkeys(errors)), dead, _count(safety))


def _searched(folder: Path, words: tuple[str, ...], *options: str) -> str:
    _run(folder, "gcc", "-O0", "-w", *words, "-o", "pan", "pan.c")
    output = _run(folder, "./pan", f"-m{DEPTH}", "-w18", *options)
    assert "max search depth too small" not in output
    assert "Search not completed" not in output or "errors: 0" not in output
    return output


def _dead(model: str, output: str) -> tuple[str, ...]:
    lines = model.splitlines()
    numbers = {int(number) for number in _UNREACHED.findall(output)}
    named = (_NAME.search(lines[number - 1]) for number in sorted(numbers))
    return tuple(dict.fromkeys(found.group(1) for found in named if found))


def _count(output: str) -> int:
    found = _STATES.search(output)
    return int(found.group(1)) if found else 0


def _run(folder: Path, *argv: str) -> str:
    done = subprocess.run(
        argv, cwd=folder, check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
