"""The form in which every bench of the project writes down what it measured."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Final

FOLDER: Final = Path("image/bench/results")
"""Where the benches write, one file each: a list of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured value.

    Attributes:
        value: the median of the runs, in `unit`.
        spread: the greatest minus the least of the runs, in `unit`.
        peer: what it is compared with; None if with nothing.
        peer_value: the peer's median in the same run.
        ratio: value / peer_value.
        aim: what was promised, in words.
        holds: whether the promise is kept; None where nothing was promised.
    """

    name: str
    arch: str
    value: float
    unit: str
    spread: float
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    aim: str | None = None
    holds: bool | None = None
    machine: str
    accel: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """At most `bound`, of the value itself or, with a peer, of its ratio to the peer.

    Where more is better, `least` makes it at least that.
    """

    bound: float
    of_peer: bool = False
    least: bool = False

    def words(self, unit: str) -> str:
        """As the table shows it."""
        sign = ">=" if self.least else "<="
        return f"{sign} {self.bound:g} x peer" if self.of_peer else f"{sign} {self.bound:g} {unit}"

    def kept(self, value: float) -> bool:
        """Say whether `value` keeps the promise."""
        return value >= self.bound if self.least else value <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the rows of one bench have in common."""

    arch: str
    machine: str
    accel: str

    def row(
        self, name: str, unit: str, runs: Sequence[float], *, aim: Threshold | None = None
    ) -> Row:
        """A row of its own."""
        value = median(runs)
        return Row(
            name=name,
            arch=self.arch,
            value=round(value, 3),
            unit=unit,
            spread=round(max(runs) - min(runs), 3),
            aim=aim.words(unit) if aim else None,
            holds=aim.kept(value) if aim else None,
            machine=self.machine,
            accel=self.accel,
        )

    def beside(
        self, row: Row, peer: str, runs: Sequence[float], *, aim: Threshold | None = None
    ) -> Row:
        """The same row with what a peer took for the same."""
        value = median(runs)
        ratio = row.value / value if value else None
        kept = {field.name: getattr(row, field.name) for field in fields(row)}
        kept |= {"peer": peer, "peer_value": round(value, 3)}
        kept |= {"ratio": None if ratio is None else round(ratio, 3)}
        if aim is not None:
            kept |= {"aim": aim.words(row.unit), "holds": ratio is not None and aim.kept(ratio)}
        return Row(**kept)


def host() -> str:
    """This machine in one line: processors, their model, the kernel."""
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = model.group(1).strip() if model else platform.machine()
    return f"{os.cpu_count()} x {name}, Linux {platform.release()}"


def read(path: Path) -> list[Row]:
    """The rows of a file; none when it is not there.

    Raises ValueError, naming the file, when it holds something else.
    """
    try:
        return [Row(**row) for row in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no list of rows: {error}") from error


def replace(path: Path, fresh: Iterable[Row]) -> None:
    """Write `fresh` in place of the file's rows of the same architectures."""
    rows = list(fresh)
    archs = {row.arch for row in rows}
    kept = [row for row in read(path) if row.arch not in archs]
    _write(path, [*kept, *rows])


def merge(path: Path, fresh: Iterable[Row]) -> None:
    """Write `fresh` in place of the file's rows of the same names and architectures."""
    rows = {(row.name, row.arch): row for row in read(path)}
    rows |= {(row.name, row.arch): row for row in fresh}
    _write(path, rows.values())


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines, columns aligned."""
    head = ("name", "arch", "value", "spread", "peer", "ratio", "aim", "")
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


_HOLDS: Final[Mapping[bool | None, str]] = {None: "", True: "holds", False: "MISSED"}


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.arch,
        f"{row.value:.2f} {row.unit}",
        f"{row.spread:.2f}",
        "" if row.peer is None else f"{row.peer} {row.peer_value:.2f}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.aim or "",
        _HOLDS[row.holds],
    )
