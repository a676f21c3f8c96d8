"""Plasma's words on the command line: `plasma run`, `verify`, `ls`, and `boot` once booted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from phase_boot.cli_support import Commands, add_json, report_errors

DEFAULT_RECEIPTS: Final = Path("/var/lib/plasma/receipts")


def register(subparsers: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands that run jobs and judge receipts."""
    plasma = subparsers.add_parser("plasma", help="run jobs, and judge their receipts")
    words = plasma.add_subparsers(required=True, metavar="WORD")
    _register_run(words)
    _register_verify(words)
    booted = words.add_parser("boot", help="in a booted system: run its jobs, as its unit does")
    booted.set_defaults(func=report_errors(_boot))
    listed = words.add_parser("ls", help="list the receipts of a machine")
    listed.add_argument("folder", nargs="?", type=Path, default=DEFAULT_RECEIPTS, metavar="DIR")
    add_json(listed)
    listed.set_defaults(func=report_errors(_list))


def _register_run(words: Commands[argparse.ArgumentParser]) -> None:
    run = words.add_parser("run", help="run a job; the status is 3 if it does not end well")
    run.add_argument("job", type=Path, metavar="JOB")
    of = run.add_mutually_exclusive_group(required=True)
    of.add_argument("--module", type=Path, metavar="FILE", help="its module")
    of.add_argument("--store", type=Path, metavar="DIR", help="a SITE or store that has its module")
    run.add_argument("--receipts", type=Path, metavar="DIR", help="keep the receipt there")
    run.add_argument(
        "--node", type=Path, metavar="FILE", help="sign by this key, made if it is not there"
    )
    run.set_defaults(func=report_errors(_run))


def _register_verify(words: Commands[argparse.ArgumentParser]) -> None:
    verify = words.add_parser("verify", help="judge a receipt")
    verify.add_argument("receipt", type=Path, metavar="RECEIPT")
    verify.add_argument("--module", type=Path, metavar="FILE", help="it must be of this module")
    verify.add_argument("--node", metavar="KEYID", help="it must be of this machine")
    verify.add_argument(
        "--against", type=Path, metavar="SITE", help="what was booted must be of its publishers"
    )
    whom = verify.add_mutually_exclusive_group()
    whom.add_argument("--key", action="append", help="a publisher's key id, or the file of a key")
    whom.add_argument("--root", type=Path, metavar="FILE", help="the root to trust as given")
    verify.add_argument("--threshold", type=int, help="how many of the keys must sign; 1")
    add_json(verify)
    verify.set_defaults(func=report_errors(_verify))


def _run(options: argparse.Namespace) -> int:
    from phase_boot.plasma import actions  # noqa: PLC0415 - wasmtime takes its time

    return actions.run(options)


def _verify(options: argparse.Namespace) -> int:
    from phase_boot.plasma import receipt_commands  # noqa: PLC0415 - nothing of it on the boot path

    return receipt_commands.verify(options)


def _boot(_options: argparse.Namespace) -> int:
    from phase_boot.plasma import boot_jobs  # noqa: PLC0415 - wasmtime takes its time

    return boot_jobs.main()


def _list(options: argparse.Namespace) -> int:
    from phase_boot.plasma import receipt_commands  # noqa: PLC0415 - nothing of it on the boot path

    return receipt_commands.listing(options)
