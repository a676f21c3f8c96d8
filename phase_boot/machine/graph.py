"""The boot graph: which state may follow which, and on what trigger (SPEC D1).

This module is data. It performs nothing and imports nothing of ours, so the
machine, the diagram in docs/states.md and the replay of a journal all derive
from the same table.
"""

from __future__ import annotations

from enum import StrEnum, auto, unique
from typing import Final, NamedTuple


@unique
class State(StrEnum):
    """A place the machine can be."""

    INIT = auto()
    NET_UP = auto()
    DISCOVER = auto()
    VERIFY = auto()
    FETCH = auto()
    KEXEC = auto()
    CHAINLOAD = auto()
    SHELL = auto()
    TARGET = auto()
    """Terminal: the machine belongs to the operating system it verified."""
    FIRMWARE = auto()
    """Terminal: the machine restarts, and the firmware's loader starts what was staged."""
    OFF = auto()
    """Terminal: a person ended the run (reboot, power off, quit)."""


@unique
class Trigger(StrEnum):
    """A reason to leave a state."""

    CONFIGURED = auto()
    LINKED = auto()
    OFFLINE = auto()
    """No network came up; what is on Cache may do."""
    FOUND = auto()
    VERIFIED = auto()
    REFUSED = auto()
    """The candidate's manifest is not acceptable: try the next one."""
    FETCHED = auto()
    UNAVAILABLE = auto()
    """No source of this manifest could deliver: try the next candidate."""
    JUMPED = auto()
    OTHER_CALL = auto()
    """The kernel refused one system call and has another: try that one."""
    NOT_LOADED = auto()
    """The kernel would not take or start the image: leave it to the firmware."""
    STAGED = auto()
    """The firmware's loader has what it takes to start the image."""
    GIVE_UP = auto()
    """There is no further way on without a person."""
    RETRY = auto()
    """A person wants another attempt."""
    AUTO_RETRY = auto()
    """The pause is over and no key was pressed: try again."""
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
"""What a crash or a spent budget does: drawn from every state that can run."""


def triggers_of(state: State) -> frozenset[Trigger]:
    """Return every trigger that is drawn from ``state``."""
    return frozenset(edge.trigger for edge in EDGES if edge.source is state)
