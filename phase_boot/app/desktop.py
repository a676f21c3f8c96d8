"""The adapters of a dry run on a desktop: a folder for Cache, and no effect on the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from phase_boot.adapters.kexec.dry_run import DryRunKexec, NoLoader, NoReports, NothingRequested
from phase_boot.adapters.net.address_watch import AddressWatch
from phase_boot.adapters.storage.folder_store import FolderOpener
from phase_boot.adapters.system import sinks
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.adapters.terminal.console_operator import ConsoleOperator, NoOperator
from phase_boot.adapters.terminal.terminals import Terminal, Terminals
from phase_boot.app.environment import Environment, Settings
from phase_boot.console.display import display_of
from phase_boot.console.lines import Console


def desktop_environment(settings: Settings) -> Environment:
    """Return the adapters of a dry run."""
    folder = settings.store or _cache_home() / "phase-boot" / "cas"
    display = display_of(sys.stderr)
    start = SystemClock().monotonic()
    terminals = Terminals([Terminal(reader=0, writer=2, name="this terminal")])
    operator = ConsoleOperator(terminals, dry_run=True, dumb=not display.moves, start=start)
    return Environment(
        store_opener=FolderOpener(folder),
        kexec=DryRunKexec(lambda text: sys.stdout.write(text + "\n")),
        loader=NoLoader(),
        privacy=NothingRequested(),
        network=AddressWatch(loopback=True),
        reports=NoReports(),
        operator=operator if sys.stdin.isatty() and display.folds else NoOperator(terminals.write),
        sinks=(
            *sinks.asked_for(settings.journal),
            Console(terminals.write, display, start=start),
        ),
        in_seed=False,
    )


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
