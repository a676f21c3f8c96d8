"""The boot graph: the states, and which trigger leads from one to another (SPEC D1).

The module is data and imports no other module of the project, so that the machine, the diagram in
docs/states.md, the Promela model and the replay of a journal derive from the same table.
"""

from __future__ import annotations

from enum import StrEnum, auto, unique
from typing import Final, NamedTuple


@unique
class State(StrEnum):
    """A state of the machine."""

    INIT = auto()
    NET_UP = auto()
    DISCOVER = auto()
    VERIFY = auto()
    FETCH = auto()
    KEXEC = auto()
    CHAINLOAD = auto()
    SHELL = auto()
    TARGET = auto()
    """Terminal: the verified operating system runs."""
    FIRMWARE = auto()
    """Terminal: the machine restarts, and the firmware's loader starts the staged image."""
    OFF = auto()
    """Terminal: a person ended the run (reboot, power off, quit)."""


@unique
class Trigger(StrEnum):
    """A reason to leave a state."""

    CONFIGURED = auto()
    LINKED = auto()
    OFFLINE = auto()
    """No network came up; the image on Cache may be sufficient."""
    FOUND = auto()
    VERIFIED = auto()
    REFUSED = auto()
    """The candidate's manifest is not acceptable: try the next candidate."""
    FETCHED = auto()
    UNAVAILABLE = auto()
    """No source delivered the artifacts of this manifest: try the next candidate."""
    JUMPED = auto()
    OTHER_CALL = auto()
    """The running kernel refused one system call: try the other one."""
    NOT_LOADED = auto()
    """The running kernel refused the image: start it by the firmware."""
    STAGED = auto()
    """The image is staged for the firmware's loader."""
    GIVE_UP = auto()
    """No automatic way is left: ask a person."""
    RETRY = auto()
    """A person chose another attempt."""
    AUTO_RETRY = auto()
    """The pause ended without a pressed key: make another attempt."""
    LEAVE = auto()


class Edge(NamedTuple):
    """One permitted move."""

    source: State
    trigger: Trigger
    target: State


EDGES: Final = (
    Edge(State.INIT, Trigger.CONFIGURED, State.NET_UP),
    Edge(State.NET_UP, Trigger.LINKED, State.DISCOVER),
    Edge(State.NET_UP, Trigger.OFFLINE, State.DISCOVER),
    Edge(State.DISCOVER, Trigger.FOUND, State.VERIFY),
    Edge(State.VERIFY, Trigger.VERIFIED, State.FETCH),
    Edge(State.VERIFY, Trigger.REFUSED, State.DISCOVER),
    Edge(State.FETCH, Trigger.FETCHED, State.KEXEC),
    Edge(State.FETCH, Trigger.UNAVAILABLE, State.DISCOVER),
    Edge(State.KEXEC, Trigger.JUMPED, State.TARGET),
    Edge(State.KEXEC, Trigger.OTHER_CALL, State.KEXEC),
    Edge(State.KEXEC, Trigger.NOT_LOADED, State.CHAINLOAD),
    Edge(State.CHAINLOAD, Trigger.STAGED, State.FIRMWARE),
    Edge(State.INIT, Trigger.GIVE_UP, State.SHELL),
    Edge(State.NET_UP, Trigger.GIVE_UP, State.SHELL),
    Edge(State.DISCOVER, Trigger.GIVE_UP, State.SHELL),
    Edge(State.VERIFY, Trigger.GIVE_UP, State.SHELL),
    Edge(State.FETCH, Trigger.GIVE_UP, State.SHELL),
    Edge(State.KEXEC, Trigger.GIVE_UP, State.SHELL),
    Edge(State.CHAINLOAD, Trigger.GIVE_UP, State.SHELL),
    Edge(State.SHELL, Trigger.RETRY, State.INIT),
    Edge(State.SHELL, Trigger.AUTO_RETRY, State.INIT),
    Edge(State.SHELL, Trigger.LEAVE, State.OFF),
    Edge(State.SHELL, Trigger.GIVE_UP, State.OFF),
)
START: Final = State.INIT
TERMINAL: Final = frozenset({State.TARGET, State.FIRMWARE, State.OFF})
FALLBACK: Final = Trigger.GIVE_UP
"""The trigger after a crash or an exceeded budget; every state with a handler has this edge."""


def triggers_of(state: State) -> frozenset[Trigger]:
    """Return every trigger that is drawn from ``state``."""
    return frozenset(edge.trigger for edge in EDGES if edge.source is state)
