"""Where the time of a boot goes: events to stages, stages to a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from image.lab.guest_events import Event
from phase_boot.console.display import COLUMNS

REPORT: Final = "target.report"
PLASMA: Final = "plasma."
"""Prefix of the events that the target sends after its report."""
TOTAL: Final = "from power-on to report"
BAR_WIDTH: Final = 40

_BEFORE_DAEMON: Final = {
    "firmware": "firmware",
    "loader": "boot loader",
    "kernel": "kernel",
    "initramfs": "initramfs",
    "switch-root": "systemd to daemon",
    "daemon": "daemon's start",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a boot, and its duration in seconds."""

    name: str
    seconds: float


def boot_stages(events: Sequence[Event], powered_on: float) -> list[Stage]:
    """Return the stages of the boot that sent `events`, in order.

    `powered_on` is the machine's start by the host's monotonic clock. That clock also measures what
    a guest cannot: the firmware, where the boot loader keeps no times, and the jump by kexec.
    """
    seed = [event for event in events if is_seed_event(event.name)]
    if not seed:
        return []
    started = min(event.kernel_started for event in seed)
    found = [*_before_daemon(seed, started - powered_on), *_states(seed)]
    report = next((event for event in events if event.name == REPORT), None)
    if report is not None:
        left = max(event.at for event in seed)
        jump = report.kernel_started - started - left
        found += [Stage("jump to the target", max(jump, 0.0)), Stage("target's boot", report.at)]
    return found


def is_seed_event(name: str) -> bool:
    """Say whether the seed sends events of this name; the target sends the others."""
    return name != REPORT and not name.startswith(PLASMA)


def _before_daemon(seed: Sequence[Event], firmware: float) -> Iterator[Stage]:
    marks = [
        (event.text("name"), event.number("reached")) for event in seed if event.name == "stage"
    ]
    known = [(name, reached) for name, reached in marks if name in _BEFORE_DAEMON]
    if known and all(name != "kernel" for name, _ in known):
        known.insert(0, ("kernel", 0.0))
    if not any(name == "firmware" for name, _ in known):
        yield Stage("firmware and loader", firmware)
    begun = next((event.at for event in seed if event.name == "run.started"), None)
    ends = [*known, ("", known[-1][1] if begun is None else begun)] if known else []
    for (name, reached), (_, until) in pairwise(ends):
        yield Stage(_BEFORE_DAEMON[name], until - reached)


def _states(seed: Sequence[Event]) -> Iterator[Stage]:
    spent: dict[str, float] = {}
    for event in seed:
        if event.name == "transition":
            state = event.text("source")
            spent[state] = spent.get(state, 0.0) + event.number("elapsed")
    # The state that jumps never returns, so it has no transition.
    entered = [event for event in seed if event.name == "state.entered"]
    jump = next((event for event in seed if event.name == "kexec.jump"), None)
    if jump is not None and entered and entered[-1].text("state") not in spent:
        spent[entered[-1].text("state")] = jump.at - entered[-1].at
    for state, seconds in spent.items():
        yield Stage(f"state {state}", seconds)


def table(rows: Sequence[Stage], total: float, columns: int = COLUMNS) -> list[str]:
    """Return the stages as lines with bars of a common scale.

    Bars shrink to fit `columns`; names and times do not.
    """
    scale = max([stage.seconds for stage in rows], default=1.0) or 1.0
    width = max(len(name) for name in (TOTAL, *(row.name for row in rows)))
    room = max(0, min(BAR_WIDTH, columns - width - len("    1234.56 s  ")))
    bars = ["#" * round(room * row.seconds / scale) for row in rows]
    lines = [
        f"  {row.name:<{width}}  {row.seconds:7.2f} s  {bar}".rstrip()
        for row, bar in zip(rows, bars, strict=True)
    ]
    return [*lines, f"  {TOTAL:<{width}}  {total:7.2f} s"]
