"""Replay of a journal: it accepts only lines that the machine can have written (SPEC D3).

The fields are judged by the event classes (`schema`), the moves by the graph (`moves`), and what
several events say of one thing by each other (`consistency`). docs/adr/0002-machine.md lists what
no reader can check.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from phase_boot.journal.consistency import ConsistencyCheck, Contradiction
from phase_boot.journal.journal import PAST
from phase_boot.journal.record import MAX_EARLIER
from phase_boot.journal.run_events import JournalCut
from phase_boot.journal.schema import problem_of
from phase_boot.journal.transitions import TOLERANCE, BadLine, TransitionCheck
from phase_boot.machine.graph import START, State
from phase_boot.trust.manifest import Manifest

MAX_LINE: Final = 1024 * 1024
"""Longest line in characters."""


class ImpossibleJournalError(Exception):
    """This machine cannot have written the journal; the text names the line."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The path of a journal through the graph.

    Attributes:
        states: the states of all runs, in order.
        verified: the last `manifest.verified` of the last run.
        mode: the mode in which the last run started.
        sources: the source of each fetched artifact of that manifest.
    """

    states: tuple[State, ...]
    verified: Mapping[str, Any] | None = None
    mode: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def end(self) -> State:
        """The last state."""
        return self.states[-1]


def replay(
    lines: Iterable[str], *, manifest: Manifest | None = None, partial: bool = False
) -> Walk:
    """Follow the journal's transitions along the graph, and check every event.

    Args:
        lines: the journal, one event a line.
        manifest: the manifest that was verified last, if the caller has it.
        partial: whether the first lines may be missing, as in the hand-over of a long journal.

    Raises:
        ImpossibleJournalError: a line is invalid; the text names the first one.
    """
    walk, number = _Replay(manifest, partial=partial), 0
    try:
        for number, line in enumerate(lines, start=1):  # noqa: B007 - the message names it
            walk.take(line)
        if number:
            walk.consistency.check_against_manifest()
    except (Contradiction, BadLine) as error:
        raise ImpossibleJournalError(f"line {number}: {error}") from error
    if not number:
        raise ImpossibleJournalError("it is empty, so it is no journal")
    found = walk.consistency
    return Walk(tuple(walk.states), found.verified, found.mode, found.sources)


class _Replay:
    """The state of a replay: the lines read so far, and their run."""

    def __init__(self, manifest: Manifest | None, *, partial: bool) -> None:
        self._manifest = manifest
        self._partial = partial
        self._lines = self._bytes = self._seq = 0
        self._at = self._first_at = 0.0
        self._boot_id: str | None = None
        self._transitions = TransitionCheck()
        self.consistency = ConsistencyCheck(manifest)
        self.states = [START]

    def take(self, line: str) -> None:
        """Check the next line.

        Raises:
            BadLine: the line cannot follow those before it.
            Contradiction: the line contradicts another one.
        """
        record = _parsed(line)
        if self._boot_id is None:
            self._partial = self._partial and record["seq"] > 0
            self._begin_run(record, partial=self._partial)
        elif record["seq"] == 0 and record["boot_id"] != self._boot_id:
            self._check_restart(record)
            self._partial = False
            self._begin_run(record, partial=False)
            self.states.append(START)
        elif record["event"] == "run.interrupted":
            raise BadLine("a run is interrupted in its middle")
        self._check_stamps(record)
        if record["event"] == JournalCut.event:
            self._skip_cut(record["lines"])
            return
        target = self._transitions.take(record)
        self.consistency.add(record, self._transitions.running)
        if target is not None:
            self.states.append(target)
        elif record["event"] == "state.entered":
            # It differs from the last transition's target only where the beginning is missing.
            self.states[-1] = self._transitions.current
        self._lines += 1
        self._bytes += len(line.encode("utf-8", "replace"))

    def _begin_run(self, record: Mapping[str, Any], *, partial: bool) -> None:
        self._boot_id, self._first_at = record["boot_id"], record["at"]
        self._seq = record["seq"] if partial else 0
        self._transitions = TransitionCheck(partial=partial)
        self.consistency = ConsistencyCheck(self._manifest, partial=partial)

    def _skip_cut(self, lines: int) -> None:
        """Continue after whole attempts that were left out; nothing is known of them."""
        walk = self._transitions
        if lines < 1 or walk.running is not None or walk.current is not START:
            raise BadLine("lines are left out within an attempt")
        self._seq += lines - 1
        self._partial = True
        self._transitions = TransitionCheck(partial=True)
        self.consistency = ConsistencyCheck(self._manifest, partial=True)

    def _check_restart(self, record: Mapping[str, Any]) -> None:
        """Check the first line of a daemon that was killed and started again."""
        if record["event"] != "run.interrupted":
            raise BadLine(f"another run begins within one, with {record['event']}")
        exact = self._bytes < MAX_EARLIER and not self._partial
        if exact and record["lines"] != self._lines:
            raise BadLine(f"it follows {record['lines']} lines, and there are {self._lines}")

    def _check_stamps(self, record: Mapping[str, Any]) -> None:
        if record["boot_id"] != self._boot_id:
            raise BadLine(f"the run {record['boot_id']!r:.80} within {self._boot_id!r:.80}")
        if record["seq"] != self._seq:
            raise BadLine(f"sequence {record['seq']}, expected {self._seq}")
        if record["at"] < self._at:
            raise BadLine(f"at {record['at']} s, before the {self._at} s of the line above")
        self._seq, self._at = self._seq + 1, record["at"]
        passed = self._at - self._first_at
        for name, value in record.items():
            past = (record["event"], name) in PAST and not self._partial
            if past and value > passed + TOLERANCE:
                raise BadLine(f"{name} is {value} s, of {passed:.4f} s that passed")


def _parsed(line: str) -> dict[str, Any]:
    """Return the event of a line.

    Raises:
        BadLine: the line is no event.
    """
    if len(line) > MAX_LINE:
        raise BadLine(f"more than {MAX_LINE} characters")
    try:
        record = json.loads(line, object_pairs_hook=_unique_names, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise BadLine(f"not an event: {line.strip()[:80]!r}")
    if problem := problem_of(record):
        raise BadLine(problem)
    return record


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(word)
