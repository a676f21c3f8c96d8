"""`phase-boot daemon`: the options of a boot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from phase_boot.app.environment import Settings

if TYPE_CHECKING:
    import argparse

WORKER_USER: Final = 997
"""`phase-network` of the seed's /etc/passwd."""
SEED_MARK: Final = Path("/etc/phase-boot/built")
"""A file that only the seed has: without it nothing is mounted and no kernel is started."""


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
    return _run(
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
    return _run(Settings())


def _run(settings: Settings) -> int:
    """Start the network worker, then the machine; return the exit status."""
    in_seed = SEED_MARK.exists()
    if not in_seed and not settings.dry_run:
        sys.stderr.write(
            "This is not a Phase Boot stick, so nothing is started; use --dry-run to try it.\n"
        )
        return 2
    if not in_seed and settings.policy is None:
        sys.stderr.write("A dry run needs --policy FILE; `phase-boot policy` makes one.\n")
        return 2
    from phase_boot.privsep.worker import start_worker  # noqa: PLC0415 - not for the help

    as_seed = in_seed and not settings.dry_run
    # The worker starts before this process has anything that it must not inherit, and both
    # processes do their slow imports at the same time.
    worker = start_worker(user=WORKER_USER if as_seed else None, discovers=True)
    try:
        from phase_boot.app.daemon import run  # noqa: PLC0415 - see above

        return run(settings, worker, as_seed=as_seed)
    finally:
        worker.stop()
