"""`make bench-report`: print image/bench/results/*.json as tables, and plot into build/bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from image.bench.results import (
    FOLDER,
    Row,
    read_rows,
    table,
)
from phase_boot.app import edge

PLOTS: Final = Path("build/bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and plot all results; the exit status is 1 when there are none."""
    parser = argparse.ArgumentParser(prog="python -m image.bench.report", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--plots", type=Path, default=PLOTS)
    options = parser.parse_args(arguments)
    files = sorted(options.folder.glob("*.json"))
    if not files:
        print(
            f"There is no result in {options.folder}; run `make bench-boot` or `make bench-trust`."
        )
        return 1
    for path in files:
        rows = read_rows(path)
        print(
            "\n".join([f"{path}", *table(rows), *sorted({_environment(row) for row in rows}), ""])
        )
        for unit in sorted({row.unit for row in rows}):
            shown = [row for row in rows if row.unit == unit]
            out = options.plots / f"{path.stem}-{unit.replace('/', '-per-')}.svg"
            plot(shown, f"{path.stem}, {unit}", out)
            print(f"plotted in {out}")
    return 0


def _environment(row: Row) -> str:
    return f"{row.arch} on {row.machine}, {row.accel}"


def plot(rows: Sequence[Row], title: str, out: Path) -> None:
    """Draw one bar per row, with its spread as a line and the peer's value behind it."""
    # By name: only the dependency group `bench` has matplotlib, so the type checker cannot see it.
    matplotlib = import_module("matplotlib.figure")
    out.parent.mkdir(parents=True, exist_ok=True)
    names = [f"{row.name} ({row.arch})" for row in rows]
    places = range(len(rows))
    figure = matplotlib.Figure(figsize=(9, 0.6 + 0.32 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    peers = [(at, row.peer_value) for at, row in enumerate(rows) if row.peer_value is not None]
    if peers:
        name = next(row.peer for row in rows if row.peer)
        axes.barh(
            [at for at, _ in peers],
            [value for _, value in peers],
            height=0.85,
            color="#d9d9d9",
            label=name,
        )
    axes.barh(
        places,
        [row.value for row in rows],
        height=0.5,
        xerr=[row.spread / 2 for row in rows],
        color=["#c0392b" if row.met is False else "#2c6fa6" for row in rows],
        label="Phase Boot",
    )
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_title(title, loc="left")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out)


if __name__ == "__main__":
    sys.exit(edge.run(main))
