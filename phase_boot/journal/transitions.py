"""The moves of one run in a journal: states and transitions alternate along the graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from phase_boot.machine import errors
from phase_boot.machine.errors import BootError
from phase_boot.machine.graph import EDGES, FALLBACK, START, TERMINAL, State, Trigger, triggers_of

Record = Mapping[str, Any]
TOLERANCE: Final = 2.0
"""Seconds that may pass between reading the clock for a duration and for the line that has it."""
BETWEEN: Final = frozenset({"state.entered", "sink.lost", "cache.release_failed", "run.ended"})
"""What the driver may emit after a move and before it enters the next state, or at the end."""
_CAUSE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_LEADS: Final = {(edge.source, edge.trigger): edge.target for edge in EDGES}
_WAYS_OUT: Final[Mapping[str, Trigger]] = {
    name: kind.way_out
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BootError) and kind is not BootError
}


class Impossible(Exception):
    """A line cannot stand where it does; the text says why."""


class TransitionCheck:
    """Where one run stands.

    Args:
        partial: whether the first lines of the run are missing. The first state or move is then
            taken as it is.
    """

    def __init__(self, *, partial: bool = False) -> None:
        self._state = START
        self._partial = partial
        self._visits = dict.fromkeys(State, 0)
        self._inside = self._moved = self._ended = self._crashed = False
        self._entered = 0.0

    @property
    def standing(self) -> State:
        """The state that the machine is in, or moved to."""
        return self._state

    @property
    def inside(self) -> State | None:
        """The state whose handler runs, or None."""
        return self._state if self._inside else None

    def take(self, record: Record) -> State | None:
        """Take the next event, and return the state that it moves to, if it is a move.

        Raises:
            Impossible: it cannot follow those before it.
        """
        name = record["event"]
        if self._ended and name != "sink.lost":
            raise Impossible(f"{name} after the end of the run")
        if self._moved and not self._inside and name not in BETWEEN:
            raise Impossible(f"{name} between two states")
        target = None
        if name == "state.entered":
            self._enter(record)
        elif name == "transition":
            target = self._move(record)
        elif name == "crashed" and record["state"] != self.inside:
            raise Impossible(f"{record['state']} crashed, while the machine is in {self.standing}")
        elif name == "run.ended":
            self._end(record)
        # The driver writes the trace of a crash just before the move; the Shell has none for its.
        self._crashed = name == "crashed" and bool(record["trace"])
        return target

    def _enter(self, record: Record) -> None:
        state, attempt = State(record["state"]), record["attempt"]
        if self._is_first():
            self._state = state
        if self._inside or state is not self.standing or state in TERMINAL:
            raise Impossible(f"{state} is entered while the machine is in {self.standing}")
        # Of a run whose beginning is missing the earlier visits are not known.
        known = self._visits[state] or not self._partial
        self._visits[state] = self._visits[state] + 1 if known else attempt
        self._check_attempt(state, attempt)
        self._inside, self._entered = True, record["at"]

    def _move(self, record: Record) -> State:
        source, trigger = State(record["source"]), Trigger(record["trigger"])
        whole = not self._is_first()
        if not whole:
            self._state, self._inside = source, True
            self._visits[source] = record["attempt"]
        if source is not self.standing:
            raise Impossible(f"a move from {source} while the machine is in {self.standing}")
        target = _LEADS.get((source, trigger))
        if target is None:
            raise Impossible(f"{source} has no edge for {trigger}")
        if target != record["target"]:
            raise Impossible(f"{trigger} leads to {target}, not {record['target']}")
        if not self._inside:
            raise Impossible(f"a move from {source}, which was not entered")
        self._check_attempt(source, record["attempt"])
        passed = record["at"] - self._entered
        # It may be less: the clock of a budget stands still while the machine is suspended.
        if whole and record["elapsed"] > passed + TOLERANCE:
            raise Impossible(f"{record['elapsed']} s in {source}, of {passed:.4f} s that passed")
        self._check_cause(record["cause"], source, trigger)
        self._state, self._inside, self._moved = target, False, True
        return target

    def _is_first(self) -> bool:
        return self._partial and not self._inside and not self._moved

    def _check_attempt(self, state: State, attempt: int) -> None:
        if attempt != self._visits[state]:
            raise Impossible(f"visit {attempt} of {state}, and it is visit {self._visits[state]}")

    def _check_cause(self, cause: str | None, source: State, trigger: Trigger) -> None:
        """Check that the cause of a move is a failure that leads that way."""
        if self._crashed and (cause is None or trigger is not FALLBACK):
            raise Impossible(f"{source} crashed, and is left by {trigger} for the cause {cause}")
        if cause is None:
            if trigger is FALLBACK:
                raise Impossible(f"{source} is left by {trigger} without a cause")
            return
        if not _CAUSE.fullmatch(cause):
            raise Impossible(f"{cause!r:.100} is no cause")
        asks = _WAYS_OUT.get(cause)
        leads = asks if asks in triggers_of(source) else FALLBACK
        if asks is not None and trigger is not leads:
            raise Impossible(f"{cause} leads to {leads}, not {trigger}")

    def _end(self, record: Record) -> None:
        if self._inside or self.standing not in TERMINAL or record["state"] != self.standing:
            raise Impossible(f"it ended in {record['state']}, and stands in {self.standing}")
        self._ended = True
