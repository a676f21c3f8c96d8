"""The adapters of the seed: real disks, firmware variables, network and consoles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from phase_boot.adapters.boot.boot_disk import SysfsBootDisk
from phase_boot.adapters.boot.efi_variables import EfiVariables
from phase_boot.adapters.boot.esp import StickEsp
from phase_boot.adapters.boot.stick_reports import StickReports
from phase_boot.adapters.boot.systemd_boot import SystemdBootLoader
from phase_boot.adapters.kexec.kexec_tools import KexecTools
from phase_boot.adapters.linux_privacy import LinuxPrivacy
from phase_boot.adapters.net.interfaces import Interfaces
from phase_boot.adapters.net.networkd import Networkd
from phase_boot.adapters.storage.cache_partition import CachePartitionOpener
from phase_boot.adapters.system import sinks
from phase_boot.adapters.terminal.console_operator import ConsoleOperator
from phase_boot.adapters.terminal.terminals import Terminals
from phase_boot.app.environment import Environment
from phase_boot.console.display import COLUMNS, Display, is_dumb
from phase_boot.console.lines import Console
from phase_boot.journal.journal import Sink

EVENTS: Final = Path("/run/phase-boot/events.jsonl")
KERNELS_OWN: Final = "linux"
"""The TERM of the kernel's consoles, if its command line has none."""


def seed_environment() -> Environment:
    """Return the adapters of a stick."""
    terminals, dumb = Terminals.consoles(), is_dumb(usual=KERNELS_OWN)
    display = Display(folds=True, moves=not dumb, columns=lambda: min(COLUMNS, terminals.columns()))
    earlier = sinks.lines_of(EVENTS)
    variables = EfiVariables()
    disk = SysfsBootDisk(variables)
    return Environment(
        store_opener=CachePartitionOpener(disk),
        kexec=KexecTools(),
        loader=SystemdBootLoader(StickEsp(disk), variables),
        privacy=LinuxPrivacy(),
        network=Networkd(permitted=Interfaces().permitted),
        operator=ConsoleOperator(terminals, dumb=dumb),
        reports=StickReports(StickEsp(disk)),
        sinks=(
            sinks.FileSink("stdout", sys.stdout.fileno()),
            *_opened(lambda: sinks.BoundedFile(EVENTS)),
            sinks.DeviceSink(sinks.PORT),
            Console(terminals.write, display),
        ),
        in_seed=True,
        earlier=earlier,
    )


def _opened(opening: Callable[[], Sink]) -> tuple[Sink, ...]:
    """Return the sink if it can be opened: a missing journal stops no boot."""
    try:
        return (opening(),)
    except OSError:
        return ()
