"""Checks the transitions of one run in a journal: they alternate with states, along the graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from phase_boot.machine import errors
from phase_boot.machine.errors import BootError
from phase_boot.machine.graph import EDGES, FALLBACK, START, TERMINAL, State, Trigger, triggers_of

ParsedRecord = Mapping[str, Any]
TOLERANCE: Final = 2.0
"""Seconds between reading the clock for a duration and reading it for the stamp of its line."""
BETWEEN_STATES: Final = frozenset(
    {"state.entered", "sink.lost", "cache.release_failed", "run.ended"}
)
"""Events that the driver may emit between a transition and the next state, or at the end."""
_CAUSE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_TARGETS: Final = {(edge.source, edge.trigger): edge.target for edge in EDGES}
_WAYS_OUT: Final[Mapping[str, Trigger]] = {
    name: kind.way_out
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BootError) and kind is not BootError
}


class BadLine(Exception):
    """An event cannot follow the events before it; the text says why."""


class TransitionCheck:
    """The position of one run in the graph.

    Args:
        partial: whether the first lines of the run are missing. The first state or transition is
            then accepted as it is.
    """

    def __init__(self, *, partial: bool = False) -> None:
        self._state = START
        self._partial = partial
        self._visits = dict.fromkeys(State, 0)
        self._running = self._has_moved = self._ended = self._crashed = False
        self._entered = 0.0

    @property
    def current(self) -> State:
        """The state that the machine is in or has moved to."""
        return self._state

    @property
    def running(self) -> State | None:
        """The state whose handler runs, or None."""
        return self._state if self._running else None

    def take(self, record: ParsedRecord) -> State | None:
        """Check the next event; return the target state if it is a transition, else None.

        Raises:
            BadLine: the event cannot follow those before it.
        """
        name = record["event"]
        if self._ended and name != "sink.lost":
            raise BadLine(f"{name} after the end of the run")
        if self._has_moved and not self._running and name not in BETWEEN_STATES:
            raise BadLine(f"{name} between two states")
        target = None
        if name == "state.entered":
            self._enter(record)
        elif name == "transition":
            target = self._transition(record)
        elif name == "crashed" and record["state"] != self.running:
            raise BadLine(f"{record['state']} crashed, while the machine is in {self.current}")
        elif name == "run.ended":
            self._end(record)
        # After a crash with a trace the driver emits the transition next; the Shell's has no trace.
        self._crashed = name == "crashed" and bool(record["trace"])
        return target

    def _enter(self, record: ParsedRecord) -> None:
        state, attempt = State(record["state"]), record["attempt"]
        if self._is_first():
            self._state = state
        if self._running or state is not self.current or state in TERMINAL:
            raise BadLine(f"{state} is entered while the machine is in {self.current}")
        # If the beginning of a run is missing, its earlier visits are unknown.
        known = self._visits[state] or not self._partial
        self._visits[state] = self._visits[state] + 1 if known else attempt
        self._check_attempt(state, attempt)
        self._running, self._entered = True, record["at"]

    def _transition(self, record: ParsedRecord) -> State:
        source, trigger = State(record["source"]), Trigger(record["trigger"])
        whole = not self._is_first()
        if not whole:
            self._state, self._running = source, True
            self._visits[source] = record["attempt"]
        if source is not self.current:
            raise BadLine(f"a move from {source} while the machine is in {self.current}")
        target = _TARGETS.get((source, trigger))
        if target is None:
            raise BadLine(f"{source} has no edge for {trigger}")
        if target != record["target"]:
            raise BadLine(f"{trigger} leads to {target}, not {record['target']}")
        if not self._running:
            raise BadLine(f"a move from {source}, which was not entered")
        self._check_attempt(source, record["attempt"])
        passed = record["at"] - self._entered
        # It may be less: the clock of a budget stops while the machine is suspended.
        if whole and record["elapsed"] > passed + TOLERANCE:
            raise BadLine(f"{record['elapsed']} s in {source}, of {passed:.4f} s that passed")
        self._check_cause(record["cause"], source, trigger)
        self._state, self._running, self._has_moved = target, False, True
        return target

    def _is_first(self) -> bool:
        return self._partial and not self._running and not self._has_moved

    def _check_attempt(self, state: State, attempt: int) -> None:
        if attempt != self._visits[state]:
            raise BadLine(f"visit {attempt} of {state}, and it is visit {self._visits[state]}")

    def _check_cause(self, cause: str | None, source: State, trigger: Trigger) -> None:
        """Check that the cause of a transition is an error whose way out is this trigger."""
        if self._crashed and (cause is None or trigger is not FALLBACK):
            raise BadLine(f"{source} crashed, and is left by {trigger} for the cause {cause}")
        if cause is None:
            if trigger is FALLBACK:
                raise BadLine(f"{source} is left by {trigger} without a cause")
            return
        if not _CAUSE.fullmatch(cause):
            raise BadLine(f"{cause!r:.100} is no cause")
        asks = _WAYS_OUT.get(cause)
        leads = asks if asks in triggers_of(source) else FALLBACK
        if asks is not None and trigger is not leads:
            raise BadLine(f"{cause} leads to {leads}, not {trigger}")

    def _end(self, record: ParsedRecord) -> None:
        if self._running or self.current not in TERMINAL or record["state"] != self.current:
            raise BadLine(f"it ended in {record['state']}, and stands in {self.current}")
        self._ended = True
