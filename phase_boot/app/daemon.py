"""The daemon: connects the adapters to the machine, walks the graph, returns an exit status.

It and `privsep.worker` are the composition roots of the two processes; no other module knows all
adapters.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import random
from typing import Any, Final, TypeVar

from phase_boot.adapters.boot.boot_disk import SysfsBootDisk
from phase_boot.adapters.boot.efi_variables import EfiVariables
from phase_boot.adapters.boot.esp import StickEsp
from phase_boot.adapters.boot.stick_reports import NoLoaderPartition, StickReports
from phase_boot.adapters.boot.systemd_boot import SystemdBootLoader
from phase_boot.adapters.finders.known_urls import CachedManifestFinder, UrlFinder
from phase_boot.adapters.kexec.dry_run import DryRunKexec, NoLoader, NothingRequested
from phase_boot.adapters.kexec.kexec_tools import KexecTools
from phase_boot.adapters.linux_privacy import LinuxPrivacy
from phase_boot.adapters.net.address_watch import AddressWatch
from phase_boot.adapters.net.interfaces import Interfaces
from phase_boot.adapters.net.networkd import Networkd
from phase_boot.adapters.storage.store_openers import CachePartitionOpener, FolderOpener
from phase_boot.adapters.system import sinks
from phase_boot.adapters.system.linux_platform import LinuxPlatform
from phase_boot.adapters.system.service_manager import ServiceManager
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.adapters.terminal.console_operator import ConsoleOperator, NoOperator
from phase_boot.adapters.terminal.terminals import Terminal, Terminals
from phase_boot.console.display import COLUMNS, Display, display_of, is_dumb
from phase_boot.console.lines import Console
from phase_boot.journal.journal import Journal, Sink
from phase_boot.journal.run_events import RunEnded, RunInterrupted
from phase_boot.machine.boot import BootContext, Failure
from phase_boot.machine.driver import StepLimitExceeded, drive
from phase_boot.machine.graph import State
from phase_boot.machine.handler import Ports
from phase_boot.machine.registry import RegistryError, installed_handlers
from phase_boot.ports.kexec import Kexec
from phase_boot.ports.loader import Loader
from phase_boot.ports.network import Network
from phase_boot.ports.operator import Operator
from phase_boot.ports.privacy import Privacy
from phase_boot.ports.reports import Reports
from phase_boot.ports.storage import StoreOpener
from phase_boot.privsep.client import WorkerClient
from phase_boot.privsep.worker import NetworkWorker, start_worker

T = TypeVar("T")
EVENTS: Final = Path("/run/phase-boot/events.jsonl")
FAILED_BEFORE: Final = "Phase Boot itself failed twice; its journal says why"
WORKER_USER: Final = 997
"""`phase-network` of the seed's /etc/passwd."""
SEED_MARK: Final = Path("/etc/phase-boot/built")
"""A file that only the seed has: without it nothing is mounted and no kernel is started."""
KERNELS_OWN: Final = "linux"
"""The TERM of the kernel's consoles, if its command line has none."""


class WorkerExited(Exception):
    """The network worker has exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the daemon's command line."""

    policy: Path | None = None
    mode: str | None = None
    url: str | None = None
    dry_run: bool = False
    unattended: bool = False
    """Retry by itself in a dry run too; in the seed the policy decides."""
    ask: bool = False
    """Ask a person before anything is tried, because earlier runs have failed."""
    store: Path | None = None
    journal: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Environment:
    """The adapters and settings that differ between the seed and a desktop."""

    store_opener: StoreOpener
    kexec: Kexec
    loader: Loader
    privacy: Privacy
    network: Network
    operator: Operator
    reports: Reports
    sinks: tuple[Sink, ...]
    in_seed: bool
    earlier: tuple[str, ...] = ()
    """The journal of an earlier run of this boot, which was killed."""


def run(settings: Settings) -> int:
    """Boot, and return the exit status: 0 if the target was started, or would be in a dry run."""
    in_seed = SEED_MARK.exists()
    if not in_seed and not settings.dry_run:
        sys.stderr.write(
            "This is not a Phase Boot stick, so nothing is started; use --dry-run to try it.\n"
        )
        return 2
    if not in_seed and settings.policy is None:
        sys.stderr.write("A dry run needs --policy FILE; `phase-boot policy` makes one.\n")
        return 2
    as_seed = in_seed and not settings.dry_run
    # Started first, so that the worker inherits no descriptor or memory of the adapters.
    worker = start_worker(user=WORKER_USER if as_seed else None, discovers=True)
    try:
        environment = _seed() if as_seed else _desktop(settings)
        end, boot = asyncio.run(_run(settings, environment, worker))
    except sinks.JournalUnusable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except RegistryError as error:
        sys.stderr.write(f"The states cannot be put together: {error}.\n")
        return 1
    except (StepLimitExceeded, WorkerExited) as error:
        sys.stderr.write(f"The boot was ended: {error}.\n")
        return 1
    finally:
        worker.stop()
    # In the seed an end that a person chose is no failure of the unit; the end of a Shell that
    # could ask no person is one.
    ended_by_choice = environment.in_seed and boot.failure is None
    return 0 if end in {State.TARGET, State.FIRMWARE} or ended_by_choice else 1


async def _run(
    settings: Settings, environment: _Environment, worker: NetworkWorker
) -> tuple[State, BootContext]:
    clock = SystemClock(settable=environment.in_seed)
    journal = Journal(
        environment.sinks, now=clock.monotonic, boot_id=_boot_id(), earlier=environment.earlier
    )
    if environment.earlier:
        journal.emit(RunInterrupted(lines=len(environment.earlier)))
    network = worker.client()
    platform = LinuxPlatform(policy=settings.policy, mode=settings.mode, url=settings.url)
    ports = Ports(
        clock=clock,
        platform=platform,
        privacy=environment.privacy,
        network=environment.network,
        finders=(network, UrlFinder(), CachedManifestFinder()),
        fetcher=network,
        peer_sharing=worker.peer_channel(),
        store_opener=environment.store_opener,
        kexec=environment.kexec,
        loader=environment.loader,
        operator=environment.operator,
        reports=environment.reports,
        journal=journal,
        supervisor=ServiceManager(),
        emit=journal.emit,
        chance=random,
    )
    boot = BootContext(
        failure=Failure(name="Failed", sentence=FAILED_BEFORE) if settings.ask else None,
        unattended=environment.in_seed or settings.unattended,
    )
    end, boot = await _while_alive(network, drive(installed_handlers(), ports, boot))
    journal.emit(RunEnded(state=end, rss_peak=platform.rss_peak()))
    journal.flush()
    return end, boot


async def _while_alive(network: WorkerClient, driving: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``driving``, unless the network worker exits first.

    Raises:
        WorkerExited: the worker exited; the service manager restarts both processes.
    """
    walk, end = asyncio.create_task(driving), asyncio.create_task(network.wait_exit())
    try:
        await asyncio.wait({walk, end}, return_when=asyncio.FIRST_COMPLETED)
        if not walk.done():
            raise WorkerExited("the process that talks to the network ended by itself")
        return walk.result()
    finally:
        for task in (walk, end):
            task.cancel()
        await asyncio.gather(walk, end, return_exceptions=True)


def _seed() -> _Environment:
    terminals, dumb = Terminals.consoles(), is_dumb(usual=KERNELS_OWN)
    display = Display(folds=True, moves=not dumb, columns=lambda: min(COLUMNS, terminals.columns()))
    earlier = sinks.lines_of(EVENTS)
    variables = EfiVariables()
    disk = SysfsBootDisk(variables)
    return _Environment(
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


def _desktop(settings: Settings) -> _Environment:
    folder = settings.store or _cache_home() / "phase-boot" / "cas"
    display = display_of(sys.stderr)
    start = SystemClock().monotonic()
    terminals = Terminals([Terminal(reader=0, writer=2, name="this terminal")])
    operator = ConsoleOperator(terminals, dry_run=True, dumb=not display.moves, start=start)
    return _Environment(
        store_opener=FolderOpener(folder),
        kexec=DryRunKexec(lambda text: sys.stdout.write(text + "\n")),
        loader=NoLoader(),
        privacy=NothingRequested(),
        network=AddressWatch(loopback=True),
        reports=NoLoaderPartition(),
        operator=operator if sys.stdin.isatty() and display.folds else NoOperator(terminals.write),
        sinks=(
            *sinks.asked_for(settings.journal),
            Console(terminals.write, display, start=start),
        ),
        in_seed=False,
    )


def _opened(opening: Callable[[], Sink]) -> tuple[Sink, ...]:
    """Return the sink if it can be opened: a missing journal stops no boot."""
    try:
        return (opening(),)
    except OSError:
        return ()


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _boot_id() -> str:
    """Return a new name for this run; the kernel's boot_id would be the same after a restart."""
    return os.urandom(6).hex()
