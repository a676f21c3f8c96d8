"""`phase-boot daemon`: the options of a boot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot daemon`."""
    parser.set_defaults(func=f"{__name__}:boot")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="policy file (default: that of the seed)"
    )
    parser.add_argument(
        "--mode",
        help="internet, local or private (default: that of the boot menu)",
    )
    parser.add_argument("--url", metavar="URL", help="manifest URL to try first")
    parser.add_argument(
        "--ask", action="store_true", help="show the menu of candidates before any is tried"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="run everything except the final kexec"
    )
    parser.add_argument(
        "--unattended",
        action="store_true",
        help="retry after a pause, as a machine without an operator does (with --dry-run)",
    )
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="keep artifacts in this folder (with --dry-run)"
    )
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="write the journal's events to this file"
    )


def boot(options: argparse.Namespace) -> int:
    """Run the machine and return its exit status."""
    from phase_boot.app.daemon import Settings, run  # noqa: PLC0415 - not for the help

    return run(
        Settings(
            policy=options.policy,
            mode=options.mode,
            url=options.url,
            dry_run=options.dry_run,
            unattended=options.unattended,
            ask=options.ask,
            store=options.store,
            journal=options.journal,
        )
    )


def run_default() -> int:
    """Run the machine without options, as the seed's unit does."""
    from phase_boot.app.daemon import Settings, run  # noqa: PLC0415 - not for the help

    return run(Settings())
