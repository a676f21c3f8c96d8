"""`phase-boot plasma`: its commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from phase_boot.cli_support import add_json, add_trust, subcommand

if TYPE_CHECKING:
    import argparse

DEFAULT_RECEIPTS: Final = Path("/var/lib/plasma/receipts")
_RECEIPTS: Final = "phase_boot.plasma.receipt_commands"


def add_plasma(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `phase-boot plasma`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(
        subcommand(
            commands,
            "run",
            "run a job; the exit status is 3 if it does not end well",
            "phase_boot.plasma.actions:run",
        )
    )
    _add_verify(subcommand(commands, "verify", "check a receipt", f"{_RECEIPTS}:verify"))
    subcommand(
        commands,
        "boot",
        "run the jobs of the booted system, as its unit does",
        "phase_boot.plasma.boot_jobs:main",
    )
    listed = subcommand(commands, "ls", "list the receipts of a machine", f"{_RECEIPTS}:listing")
    listed.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=DEFAULT_RECEIPTS,
        metavar="DIR",
        help="folder of the receipts (default: %(default)s)",
    )
    add_json(listed)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, metavar="JOB", help="job file")
    module = parser.add_mutually_exclusive_group(required=True)
    module.add_argument("--module", type=Path, metavar="FILE", help="module of the job")
    module.add_argument(
        "--store", type=Path, metavar="DIR", help="SITE or store that has the module"
    )
    parser.add_argument(
        "--receipts", type=Path, metavar="DIR", help="folder to write the receipt to"
    )
    parser.add_argument(
        "--node",
        type=Path,
        metavar="FILE",
        help="node key to sign with, created if the file does not exist",
    )


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("receipt", type=Path, metavar="RECEIPT", help="receipt file")
    parser.add_argument(
        "--module", type=Path, metavar="FILE", help="module that the receipt must name"
    )
    parser.add_argument("--node", metavar="KEYID", help="node key that must have signed it")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="SITE",
        help="SITE whose publishers must have signed the booted release",
    )
    add_trust(parser, root="trusted root (default: the oldest in the SITE)")
    add_json(parser)
