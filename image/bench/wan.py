"""`make bench-wan`: finding and fetching beyond the LAN, beside kubo and curl.

Runs of all clients alternate on the same hosts. What is far is behind an emulated link.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from image.bench import wan_gateways, wan_lan, wan_records
from image.bench.results import (
    FOLDER,
    Bench,
    Row,
    host_description,
    merge_rows,
    replace_rows,
    table,
)
from phase_boot.app import edge
from phase_boot.content.arch import Arch

RESULT: Final = FOLDER / "wan.json"
CASES: Final[dict[str, Callable[[Bench, int], Iterator[Row]]]] = {
    "record": wan_records.by_http,
    "dht": wan_records.by_dht,
    "warm": wan_gateways.warm,
    "slow": wan_gateways.slow,
    "cold": wan_gateways.cold,
    "serve": wan_gateways.ours_and_kubo,
    "lan": wan_lan.readiness,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, write its rows, and print them."""
    parser = argparse.ArgumentParser(prog="python -m image.bench.wan", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--only", choices=list(CASES), action="append", help="run only this case; repeatable"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    about = Bench(arch=str(Arch.AMD64), machine=host_description(), accel="native")
    rows: list[Row] = []
    for name in options.only or CASES:
        for row in CASES[name](about, options.runs):
            rows.append(row)
            print("\n".join(table([row])[1:]), flush=True)
    (merge_rows if options.only else replace_rows)(options.out, rows)
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(edge.run(main))
