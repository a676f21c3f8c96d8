"""The daemon: connects the adapters to the machine, walks the graph, returns an exit status.

With `seed` or `desktop` it is the composition root of the process that boots; `privsep.worker_main`
is that of the network worker. No other module knows all adapters of its process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from random import random
from typing import TYPE_CHECKING, Any, Final, TypeVar

from phase_boot.adapters.finders.dht import DhtFinder
from phase_boot.adapters.finders.ipns_http import RecordFinder
from phase_boot.adapters.finders.known_urls import CachedManifestFinder, UrlFinder
from phase_boot.adapters.finders.lan_providers import LanProviders
from phase_boot.adapters.system.linux_platform import LinuxPlatform
from phase_boot.adapters.system.service_manager import ServiceManager
from phase_boot.adapters.system.sinks import JournalUnusable
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.adapters.wan.bitswap_client import BitswapClient
from phase_boot.adapters.wan.libp2p_client import Libp2pClient, command
from phase_boot.journal.journal import Journal
from phase_boot.journal.run_events import RunEnded, RunInterrupted
from phase_boot.machine.boot import BootContext, Failure
from phase_boot.machine.driver import StepLimitExceeded, drive
from phase_boot.machine.graph import State
from phase_boot.machine.handler import Ports
from phase_boot.machine.registry import RegistryError, installed_handlers
from phase_boot.privsep.client import WorkerClient
from phase_boot.sandbox.process import NOBODY

if TYPE_CHECKING:
    from phase_boot.app.environment import Environment, Settings
    from phase_boot.privsep.worker import NetworkWorker

T = TypeVar("T")
FAILED_BEFORE: Final = "Phase Boot itself failed twice; its journal says why"


class WorkerExited(Exception):
    """The network worker has exited."""


def run(settings: Settings, worker: NetworkWorker, *, as_seed: bool) -> int:
    """Boot, and return the exit status: 0 if the target was started, or would be in a dry run."""
    try:
        environment = _environment(settings, as_seed=as_seed)
        end, boot = asyncio.run(_run(settings, environment, worker))
    except JournalUnusable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except RegistryError as error:
        sys.stderr.write(f"The states cannot be put together: {error}.\n")
        return 1
    except (StepLimitExceeded, WorkerExited) as error:
        sys.stderr.write(f"The boot was ended: {error}.\n")
        return 1
    # In the seed an end that a person chose is no failure of the unit; the end of a Shell that
    # could ask no person is one.
    ended_by_choice = environment.in_seed and boot.failure is None
    return 0 if end in {State.TARGET, State.FIRMWARE} or ended_by_choice else 1


def _environment(settings: Settings, *, as_seed: bool) -> Environment:
    """Return the adapters of a stick or of a dry run; the others are not imported."""
    if as_seed:
        from phase_boot.app.seed import seed_environment  # noqa: PLC0415 - see above

        return seed_environment()
    from phase_boot.app.desktop import desktop_environment  # noqa: PLC0415 - see above

    return desktop_environment(settings)


async def _run(
    settings: Settings, environment: Environment, worker: NetworkWorker
) -> tuple[State, BootContext]:
    clock = SystemClock(settable=environment.in_seed)
    journal = Journal(
        environment.sinks, now=clock.monotonic, boot_id=_boot_id(), earlier=environment.earlier
    )
    if environment.earlier:
        journal.emit(RunInterrupted(lines=len(environment.earlier)))
    network = worker.client()
    providers = LanProviders(network)
    dht = Libp2pClient(command(NOBODY if environment.in_seed else None))
    platform = LinuxPlatform(policy=settings.policy, mode=settings.mode, url=settings.url)
    ports = Ports(
        clock=clock,
        platform=platform,
        privacy=environment.privacy,
        network=environment.network,
        finders=(
            providers,
            RecordFinder(network, providers),
            DhtFinder(dht),
            UrlFinder(),
            CachedManifestFinder(),
        ),
        fetcher=network,
        dht=dht,
        blocks=BitswapClient(dht),
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
    try:
        end, boot = await _while_alive(network, drive(installed_handlers(), ports, boot))
    finally:
        await dht.stop()
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


def _boot_id() -> str:
    """Return a new name for this run; the kernel's boot_id would be the same after a restart."""
    return os.urandom(6).hex()
