"""Walking a journal again: every line of it must be one that the machine writes there (SPEC D3).

The fields are judged by the event classes (`schema`), the moves by the graph (`moves`), and what
several events say of one thing by each other (`consistency`). docs/adr/0002-machine.md lists what
no reader can check.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from phase_boot.journal.consistency import Contradiction, Evidence
from phase_boot.journal.journal import PAST
from phase_boot.journal.run_events import JournalCut
from phase_boot.journal.schema import fault
from phase_boot.journal.transitions import TOLERANCE, Impossible, TransitionCheck
from phase_boot.machine.graph import START, State
from phase_boot.trust.manifest import Manifest

MAX_LINE: Final = 1024 * 1024
"""Characters of one line."""
MAX_EARLIER: Final = 1024 * 1024
"""Bytes that a daemon reads of the journal of a run before it; it counts the lines in them."""


class ImpossibleJournalError(Exception):
    """The journal cannot have been written by this machine; the text names the line."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a journal leads.

    Attributes:
        states: the states in order, of all runs.
        verified: the last `manifest.verified` of the last run.
        mode: the mode that the last run started in.
        sources: where each artifact of that manifest was fetched from.
    """

    states: tuple[State, ...]
    verified: Mapping[str, Any] | None = None
    mode: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def end(self) -> State:
        """The state the journal ends in."""
        return self.states[-1]


def replay(
    lines: Iterable[str], *, manifest: Manifest | None = None, partial: bool = False
) -> Walk:
    """Walk the journal's transitions along the graph, and check every event on the way.

    Args:
        lines: the journal, an event a line.
        manifest: the manifest that was verified last, where it is at hand.
        partial: whether the first lines may be missing, as in the hand-over of a long journal.

    Raises:
        ImpossibleJournalError: naming the first line that this machine cannot have written there.
    """
    walk, number = _Walk(manifest, partial=partial), 0
    try:
        for number, line in enumerate(lines, start=1):  # noqa: B007 - the message names it
            walk.take(line)
        if number:
            walk.evidence.check_against_manifest()
    except (Contradiction, Impossible) as error:
        raise ImpossibleJournalError(f"line {number}: {error}") from error
    if not number:
        raise ImpossibleJournalError("it is empty, so it is no journal")
    found = walk.evidence
    return Walk(tuple(walk.states), found.verified, found.mode, found.sources)


class _Walk:
    """A journal, as far as it was read: its lines, and the run they are in."""

    def __init__(self, manifest: Manifest | None, *, partial: bool) -> None:
        self._manifest = manifest
        self._partial = partial
        self._lines = self._bytes = self._seq = 0
        self._at = self._first_at = 0.0
        self._boot_id: str | None = None
        self._transitions = TransitionCheck()
        self.evidence = Evidence(manifest)
        self.states = [START]

    def take(self, line: str) -> None:
        """Take the next line.

        Raises:
            Impossible: the machine cannot have written it here.
            Contradiction: it contradicts another line.
        """
        record = _record(line)
        if self._boot_id is None:
            self._partial = self._partial and record["seq"] > 0
            self._begin(record, partial=self._partial)
        elif record["seq"] == 0 and record["boot_id"] != self._boot_id:
            self._check_restart(record)
            self._partial = False
            self._begin(record, partial=False)
            self.states.append(START)
        elif record["event"] == "run.interrupted":
            raise Impossible("a run is interrupted in its middle")
        self._check_stamps(record)
        if record["event"] == JournalCut.event:
            self._go_beyond(record["lines"])
            return
        target = self._transitions.take(record)
        self.evidence.add(record, self._transitions.inside)
        if target is not None:
            self.states.append(target)
        elif record["event"] == "state.entered":
            # Only where the beginning is missing this is not the state that it moved to.
            self.states[-1] = self._transitions.standing
        self._lines += 1
        self._bytes += len(line.encode("utf-8", "replace"))

    def _begin(self, record: Mapping[str, Any], *, partial: bool) -> None:
        self._boot_id, self._first_at = record["boot_id"], record["at"]
        self._seq = record["seq"] if partial else 0
        self._transitions = TransitionCheck(partial=partial)
        self.evidence = Evidence(self._manifest, partial=partial)

    def _go_beyond(self, lines: int) -> None:
        """Go on after whole attempts that were left out, of which nothing is known."""
        walk = self._transitions
        if lines < 1 or walk.inside is not None or walk.standing is not START:
            raise Impossible("lines are left out within an attempt")
        self._seq += lines - 1
        self._partial = True
        self._transitions = TransitionCheck(partial=True)
        self.evidence = Evidence(self._manifest, partial=True)

    def _check_restart(self, record: Mapping[str, Any]) -> None:
        """Check the first line of a daemon that was killed and started again."""
        if record["event"] != "run.interrupted":
            raise Impossible(f"another run begins within one, with {record['event']}")
        exact = self._bytes < MAX_EARLIER and not self._partial
        if exact and record["lines"] != self._lines:
            raise Impossible(f"it follows {record['lines']} lines, and there are {self._lines}")

    def _check_stamps(self, record: Mapping[str, Any]) -> None:
        if record["boot_id"] != self._boot_id:
            raise Impossible(f"the run {record['boot_id']!r:.80} within {self._boot_id!r:.80}")
        if record["seq"] != self._seq:
            raise Impossible(f"sequence {record['seq']}, expected {self._seq}")
        if record["at"] < self._at:
            raise Impossible(f"at {record['at']} s, before the {self._at} s of the line above")
        self._seq, self._at = self._seq + 1, record["at"]
        passed = self._at - self._first_at
        for name, value in record.items():
            past = (record["event"], name) in PAST and not self._partial
            if past and value > passed + TOLERANCE:
                raise Impossible(f"{name} is {value} s, of {passed:.4f} s that passed")


def _record(line: str) -> dict[str, Any]:
    """Return the event of a line.

    Raises:
        Impossible: it is none.
    """
    if len(line) > MAX_LINE:
        raise Impossible(f"more than {MAX_LINE} characters")
    try:
        record = json.loads(line, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise Impossible(f"not an event: {line.strip()[:80]!r}")
    if problem := fault(record):
        raise Impossible(problem)
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)
