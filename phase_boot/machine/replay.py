"""Walking a journal again: every move of it must be a move of the graph (SPEC D3)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.guard import Guard, UndrawnEdgeError


class ImpossibleJournalError(Exception):
    """The journal cannot have been written by this machine; the text names the line."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a journal leads: the states in order, and the last one."""

    states: tuple[State, ...]

    @property
    def end(self) -> State:
        """The state the journal ends in."""
        return self.states[-1]


def replay(lines: Iterable[str]) -> Walk:
    """Walk the journal's transitions along the graph.

    Raises:
        ImpossibleJournalError: naming the first line that is not JSON, out of
            sequence, or a move that the graph does not contain.
    """
    guard = Guard()
    states = [guard.state]
    expected, boot_id = 0, None
    for number, (seq, record) in enumerate(_records(lines), start=1):
        if seq == 0 and boot_id not in {None, record.get("boot_id")}:
            # The daemon was killed and started again; what follows begins anew.
            guard, expected = Guard(), 0
            states.append(guard.state)
        if seq != expected:
            raise ImpossibleJournalError(f"line {number}: sequence {seq}, expected {expected}")
        expected, boot_id = expected + 1, record.get("boot_id")
        if record.get("event") == "transition":
            states.append(_advance(guard, record, number))
    return Walk(tuple(states))


def _records(lines: Iterable[str]) -> Iterable[tuple[object, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            yield record["seq"], record
        except (ValueError, KeyError, TypeError) as error:
            raise ImpossibleJournalError(f"line {number}: not an event: {line[:80]!r}") from error


def _advance(guard: Guard, record: dict[str, Any], number: int) -> State:
    try:
        source, trigger = State(record["source"]), Trigger(record["trigger"])
        claimed = State(record["target"])
    except (ValueError, KeyError) as error:
        raise ImpossibleJournalError(f"line {number}: unknown name {error}") from error
    if source is not guard.state:
        raise ImpossibleJournalError(
            f"line {number}: a move from {source} while the machine is in {guard.state}"
        )
    try:
        target = guard.advance(trigger)
    except UndrawnEdgeError as error:
        raise ImpossibleJournalError(f"line {number}: {error}") from error
    if target is not claimed:
        raise ImpossibleJournalError(f"line {number}: {trigger} leads to {target}, not {claimed}")
    return target
