"""Events of the run itself: states and transitions, retries, the person at the Shell, the clock.

The classes here and in the other `*_events` modules are all events of a boot (SPEC D3). The journal
adds the stamps `seq`, `boot_id` and `at`, in seconds since the running kernel started.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from phase_boot.journal.event import Event
from phase_boot.machine.graph import State, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The daemon starts; `wall` is the system clock's UTC time, which may be wrong."""

    event = "run.started"
    arch: str
    mode: str
    wall: str
    build: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted(Event):
    """The previous run was killed; the journal holds `lines` events of it."""

    event = "run.interrupted"
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The run ended in a terminal state; `rss_peak` is the daemon's, in bytes."""

    event = "run.ended"
    state: State
    rss_peak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Event):
    """A boot stage before the daemon, `reached` seconds after the kernel (negative: before)."""

    event = "stage"
    deduplicated = True
    name: str
    reached: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEntered(Event):
    """A handler starts; `attempt` counts the visits of this state, from 1."""

    event = "state.entered"
    state: State
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition(Event):
    """The machine moved, `elapsed` seconds after it entered `source`."""

    event = "transition"
    source: State
    trigger: Trigger
    target: State
    cause: str | None
    attempt: int
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed(Event):
    """A handler raised an unexpected exception: a bug."""

    event = "crashed"
    state: State
    error: str
    trace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """The machine retries automatically after `seconds`, unless a key is pressed.

    `retries` counts the automatic retries so far, and `kind` is the class of the failure.
    """

    event = "retry.scheduled"
    retries: int
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryEarly(Event):
    """A change of the network starts the next attempt before its pause ends."""

    event = "retry.early"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStopped(Event):
    """A key was pressed: automatic retries stop until a menu action is chosen."""

    event = "retry.stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellOpened(Event):
    """The Seed Shell opens its menu; `cause` and `way_out` are one sentence each."""

    event = "shell.opened"
    cause: str
    way_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellChose(Event):
    """The menu action that was chosen, without the text that was typed for it."""

    event = "shell.chose"
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSaved(Event):
    """A report was saved on the stick."""

    event = "report.saved"
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportNotSaved(Event):
    """A report could not be saved on the stick."""

    event = "report.not_saved"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WallClockSet(Event):
    """The system clock was set, automatically or from the menu; the hardware clock never is."""

    event = "clock.set"
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WallClockNotSet(Event):
    """The system clock could not be set and is behind: valid certificates may be refused."""

    event = "clock.not_set"
    deduplicated = True
    wanted: str = field(compare=False)
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkLost(Event):
    """A sink failed and gets no more events; the other sinks get all."""

    event = "sink.lost"
    sink: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalCut(Event):
    """`lines` lines of whole attempts are left out here; the stamps are those of the first."""

    event = "journal.cut"
    lines: int
