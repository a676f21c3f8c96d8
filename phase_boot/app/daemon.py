"""The daemon: real adapters put together, one walk along the graph, one exit status.

Together with `privsep.worker`, the composition root of the process that talks to the
network, the only place that knows every adapter.
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
"""Only the seed has it: elsewhere nothing is mounted and nothing jumps."""
KERNELS_OWN: Final = "linux"
"""What the kernel's consoles are where its command line has no TERM."""


class WorkerExited(Exception):
    """The network worker has exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line of the daemon says."""

    policy: Path | None = None
    mode: str | None = None
    url: str | None = None
    dry_run: bool = False
    unattended: bool = False
    """Try again by itself in a dry run too; in the seed the policy decides."""
    ask: bool = False
    """Ask a person before anything is tried: runs before this one have failed."""
    store: Path | None = None
    journal: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surroundings:
    """What differs between the seed and a desktop."""

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
    """What a run of this boot wrote down that was killed."""


def run(settings: Settings) -> int:
    """Boot, and return the exit status: 0 when the target was started, or would have been."""
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
    # Before there is anything that the other process must not have.
    worker = start_worker(user=WORKER_USER if as_seed else None, discovers=True)
    try:
        around = _seed() if as_seed else _desktop(settings)
        end, boot = asyncio.run(_run(settings, around, worker))
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
    # In the seed a person who leaves has been obeyed, which is no failure of the unit; that nobody
    # could be asked is one.
    obeyed = around.in_seed and boot.failure is None
    return 0 if end in {State.TARGET, State.FIRMWARE} or obeyed else 1


async def _run(
    settings: Settings, around: _Surroundings, worker: NetworkWorker
) -> tuple[State, BootContext]:
    clock = SystemClock(settable=around.in_seed)
    journal = Journal(around.sinks, now=clock.monotonic, boot_id=_boot_id(), earlier=around.earlier)
    if around.earlier:
        journal.emit(RunInterrupted(lines=len(around.earlier)))
    network = worker.client()
    platform = LinuxPlatform(policy=settings.policy, mode=settings.mode, url=settings.url)
    ports = Ports(
        clock=clock,
        platform=platform,
        privacy=around.privacy,
        network=around.network,
        finders=(network, UrlFinder(), CachedManifestFinder()),
        fetcher=network,
        peer_sharing=worker.peer_channel(),
        store_opener=around.store_opener,
        kexec=around.kexec,
        loader=around.loader,
        operator=around.operator,
        reports=around.reports,
        journal=journal,
        supervisor=ServiceManager(),
        emit=journal.emit,
        chance=random,
    )
    boot = BootContext(
        failure=Failure(name="Failed", sentence=FAILED_BEFORE) if settings.ask else None,
        unattended=around.in_seed or settings.unattended,
    )
    end, boot = await _while_alive(network, drive(installed_handlers(), ports, boot))
    journal.emit(RunEnded(state=end, rss_peak=platform.rss_peak()))
    journal.flush()
    return end, boot


async def _while_alive(network: WorkerClient, driving: Coroutine[Any, Any, T]) -> T:
    """Return what ``driving`` does, unless the process that talks to the network ends first.

    Raises:
        WorkerExited: it did; the service manager restarts both.
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


def _seed() -> _Surroundings:
    terminals, dumb = Terminals.consoles(), is_dumb(usual=KERNELS_OWN)
    display = Display(folds=True, moves=not dumb, columns=lambda: min(COLUMNS, terminals.columns()))
    earlier = sinks.lines_of(EVENTS)
    variables = EfiVariables()
    disk = SysfsBootDisk(variables)
    return _Surroundings(
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


def _desktop(settings: Settings) -> _Surroundings:
    folder = settings.store or _cache_home() / "phase-boot" / "cas"
    display = display_of(sys.stderr)
    start = SystemClock().monotonic()
    terminals = Terminals([Terminal(reader=0, writer=2, name="this terminal")])
    operator = ConsoleOperator(terminals, dry_run=True, dumb=not display.moves, start=start)
    return _Surroundings(
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
    """Return the sink if it can be had: a journal that is missing never stops a boot."""
    try:
        return (opening(),)
    except OSError:
        return ()


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _boot_id() -> str:
    """Return one name for this run; the kernel's own identifier outlives a retry of the daemon."""
    return os.urandom(6).hex()
