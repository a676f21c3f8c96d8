"""Where the time of a boot went: from events to stages, and from stages to a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from image.lab.guest_events import Event
from phase_boot.console.display import COLUMNS

REPORT: Final = "target.report"
PLASMA: Final = "plasma."
"""How the names of what the target says after its report begin."""
TOTAL: Final = "from power-on to report"
BAR: Final = 40

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
    """One stretch of a boot, in seconds."""

    name: str
    seconds: float


def stages(events: Sequence[Event], powered: float) -> list[Stage]:
    """Every stage of the boot that `events` tell of, in order.

    `powered` is when the machine was switched on, by the host's monotonic clock. What a guest
    cannot know (firmware where its loader kept no times; the jump) is taken from that clock.
    """
    seed = [event for event in events if is_of_seed(event.name)]
    if not seed:
        return []
    started = min(event.kernel_started for event in seed)
    found = [*_before_daemon(seed, started - powered), *_states(seed)]
    report = next((event for event in events if event.name == REPORT), None)
    if report is not None:
        left = max(event.at for event in seed)
        jump = report.kernel_started - started - left
        found += [Stage("jump to the target", max(jump, 0.0)), Stage("target's boot", report.at)]
    return found


def is_of_seed(name: str) -> bool:
    """Whether the seed says events of that name, and not the target."""
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
    # The jump does not come back to write its transition down.
    entered = [event for event in seed if event.name == "state.entered"]
    jump = next((event for event in seed if event.name == "kexec.jump"), None)
    if jump is not None and entered and entered[-1].text("state") not in spent:
        spent[entered[-1].text("state")] = jump.at - entered[-1].at
    for state, seconds in spent.items():
        yield Stage(f"state {state}", seconds)


def table(rows: Sequence[Stage], total: float, columns: int = COLUMNS) -> list[str]:
    """The stages as lines of at most so many columns, each with a bar to a common scale.

    Names and times are never cut.
    """
    scale = max([stage.seconds for stage in rows], default=1.0) or 1.0
    width = max(len(name) for name in (TOTAL, *(row.name for row in rows)))
    room = max(0, min(BAR, columns - width - len("    1234.56 s  ")))
    bars = ["#" * round(room * row.seconds / scale) for row in rows]
    lines = [
        f"  {row.name:<{width}}  {row.seconds:7.2f} s  {bar}".rstrip()
        for row, bar in zip(rows, bars, strict=True)
    ]
    return [*lines, f"  {TOTAL:<{width}}  {total:7.2f} s"]
