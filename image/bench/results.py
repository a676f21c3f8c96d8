"""The result format of all benchmarks: rows with a value, a comparison and a threshold."""

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
"""Each benchmark writes one file here, a JSON list of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured value.

    Attributes:
        value: the median of the runs, in `unit`.
        spread: the maximum minus the minimum of the runs, in `unit`.
        peer: the program with which it is compared, if any.
        peer_value: the median of the peer's runs, in `unit`.
        ratio: value / peer_value.
        threshold: the required bound, as text.
        met: whether the value is within the threshold; None without one.
        machine: the host, as `host_description` returns it.
        accel: QEMU's accelerator, or `native`.
    """

    name: str
    arch: str
    value: float
    unit: str
    spread: float
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    threshold: str | None = None
    met: bool | None = None
    machine: str
    accel: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """An upper bound of a value; with `least`, a lower one.

    With `of_peer` it bounds the ratio of the value to the peer's.
    """

    bound: float
    of_peer: bool = False
    least: bool = False

    def describe(self, unit: str) -> str:
        """Return the bound as the table shows it."""
        sign = ">=" if self.least else "<="
        return f"{sign} {self.bound:g} x peer" if self.of_peer else f"{sign} {self.bound:g} {unit}"

    def is_met(self, value: float) -> bool:
        """Say whether `value` is within the bound."""
        return value >= self.bound if self.least else value <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The fields that all rows of one benchmark share."""

    arch: str
    machine: str
    accel: str

    def row(
        self, name: str, unit: str, runs: Sequence[float], *, threshold: Threshold | None = None
    ) -> Row:
        """Return a row without a comparison."""
        value = median(runs)
        return Row(
            name=name,
            arch=self.arch,
            value=round(value, 3),
            unit=unit,
            spread=round(max(runs) - min(runs), 3),
            threshold=threshold.describe(unit) if threshold else None,
            met=threshold.is_met(value) if threshold else None,
            machine=self.machine,
            accel=self.accel,
        )

    def compare(
        self, row: Row, peer: str, runs: Sequence[float], *, threshold: Threshold | None = None
    ) -> Row:
        """Return `row` with a comparison to the peer's `runs`."""
        value = median(runs)
        ratio = row.value / value if value else None
        kept = {field.name: getattr(row, field.name) for field in fields(row)}
        kept |= {"peer": peer, "peer_value": round(value, 3)}
        kept |= {"ratio": None if ratio is None else round(ratio, 3)}
        if threshold is not None:
            met = ratio is not None and threshold.is_met(ratio)
            kept |= {"threshold": threshold.describe(row.unit), "met": met}
        return Row(**kept)


def host_description() -> str:
    """Return the host in one line: number and model of its processors, and its kernel."""
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = model.group(1).strip() if model else platform.machine()
    return f"{os.cpu_count()} x {name}, Linux {platform.release()}"


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none when it does not exist.

    Raises:
        ValueError: the file holds something else; the message names it.
    """
    try:
        return [Row(**row) for row in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no list of result rows: {error}") from error


def replace_rows(path: Path, fresh: Iterable[Row]) -> None:
    """Write `fresh`, and keep the file's rows of other architectures."""
    rows = list(fresh)
    archs = {row.arch for row in rows}
    kept = [row for row in read_rows(path) if row.arch not in archs]
    _write(path, [*kept, *rows])


def merge_rows(path: Path, fresh: Iterable[Row]) -> None:
    """Write `fresh`, and keep the file's rows with other names or architectures."""
    rows = {(row.name, row.arch): row for row in read_rows(path)}
    rows |= {(row.name, row.arch): row for row in fresh}
    _write(path, rows.values())


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines with aligned columns."""
    head = ("name", "arch", "value", "spread", "peer", "ratio", "threshold", "")
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


_MET: Final[Mapping[bool | None, str]] = {None: "", True: "met", False: "MISSED"}


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.arch,
        f"{row.value:.2f} {row.unit}",
        f"{row.spread:.2f}",
        "" if row.peer is None else f"{row.peer} {row.peer_value:.2f}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.threshold or "",
        _MET[row.met],
    )
