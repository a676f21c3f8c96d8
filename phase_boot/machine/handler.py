"""The interface of a state's handler: its declaration, its ports and its result (SPEC D2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from phase_boot.journal.event import Event
from phase_boot.machine.boot import BootContext
from phase_boot.machine.errors import BootError
from phase_boot.machine.graph import State, Trigger, triggers_of
from phase_boot.ports.block_exchange import BlockExchange
from phase_boot.ports.clock import Clock
from phase_boot.ports.dht import Dht
from phase_boot.ports.fetcher import Fetcher
from phase_boot.ports.finder import Finder
from phase_boot.ports.journal import JournalReader
from phase_boot.ports.kexec import Kexec
from phase_boot.ports.loader import Loader
from phase_boot.ports.network import Network
from phase_boot.ports.operator import Operator
from phase_boot.ports.peer_sharing import PeerSharing
from phase_boot.ports.platform import Platform
from phase_boot.ports.privacy import Privacy
from phase_boot.ports.reports import Reports
from phase_boot.ports.storage import StoreOpener
from phase_boot.ports.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports through which a handler acts."""

    clock: Clock
    platform: Platform
    privacy: Privacy
    network: Network
    finders: tuple[Finder, ...]
    fetcher: Fetcher
    dht: Dht
    blocks: BlockExchange
    peer_sharing: PeerSharing
    store_opener: StoreOpener
    kexec: Kexec
    loader: Loader
    operator: Operator
    reports: Reports
    journal: JournalReader
    supervisor: Supervisor
    emit: Callable[[Event], None]
    chance: Callable[[], float]
    """Returns a random number from 0 up to 1, for jitter."""


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a state: the trigger, and the facts known then."""

    trigger: Trigger
    boot: BootContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """The handler of a state, declared as data so that its moves are checked before it runs.

    Attributes:
        state: the state that it handles.
        run: the coroutine; it returns a `Step` or raises one of `raises`.
        leads: the triggers that it may return.
        raises: the errors that it may raise; their ways out must be drawn too.
        budget: seconds after which the driver cancels it; None for no limit, as while a person is
            asked.

    Raises:
        ValueError: the graph lacks one of the declared moves, no move is declared, or the budget is
            not positive.
    """

    state: State
    run: Callable[[Ports, BootContext], Awaitable[Step]]
    leads: frozenset[Trigger]
    raises: tuple[type[BootError], ...] = ()
    budget: float | None

    def __post_init__(self) -> None:
        promised = self.leads | {error.way_out for error in self.raises}
        undrawn = sorted(promised - triggers_of(self.state))
        if undrawn:
            raise ValueError(f"the handler of {self.state} has no edge for {', '.join(undrawn)}")
        if not self.leads or (self.budget is not None and not self.budget > 0):
            raise ValueError(f"the handler of {self.state} leads nowhere or has no time to")
