"""What a plugin must say about itself to handle a state (SPEC D2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from phase_boot.journal.event import Event
from phase_boot.machine.boot import BootContext
from phase_boot.machine.errors import BootError
from phase_boot.machine.graph import State, Trigger, triggers_of
from phase_boot.ports.clock import Clock
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
    """Every port a handler may touch."""

    clock: Clock
    platform: Platform
    privacy: Privacy
    network: Network
    finders: tuple[Finder, ...]
    fetcher: Fetcher
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
    """How a state was left: the trigger, and what is known now."""

    trigger: Trigger
    boot: BootContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A state's behaviour, declared as data.

    Attributes:
        state: the state it handles.
        run: the coroutine; it returns a `Step` or raises one of `raises`.
        leads: the triggers it may return.
        raises: the errors it may raise, whose ways out must be drawn too.
        budget: seconds after which the driver cancels it; None waits for a person, for ever.

    Raises:
        ValueError: the handler promises a move that the graph does not contain,
            or has no time to make one.
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
