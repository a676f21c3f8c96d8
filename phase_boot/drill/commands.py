"""`phase-boot drill`: its options."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_drill(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot drill`."""
    parser.set_defaults(func=f"{__name__}:drill")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="repeat the drill of this number (default: random)"
    )
    parser.add_argument(
        "--mode", choices=("internet", "local", "private"), help="mode (default: random)"
    )
    parser.add_argument(
        "--faults",
        type=int,
        default=2,
        metavar="N",
        help="number of injected faults (default: %(default)s)",
    )


def drill(options: argparse.Namespace) -> int:
    """Run one drill and return its exit status."""
    from phase_boot.console.display import display_of  # noqa: PLC0415 - not for the help
    from phase_boot.drill.cli import run_drill  # noqa: PLC0415 - the same

    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    faults = max(0, options.faults)
    return run_drill(seed, options.mode, faults, sys.stdout.write, display_of(sys.stdout))
