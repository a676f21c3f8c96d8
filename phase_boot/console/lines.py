"""Renders each event as one line: foreign text escaped, folded to the width of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import wrap
from types import MappingProxyType
from typing import Any, Final

from phase_boot.console.display import COLUMNS, FILE, Display
from phase_boot.journal.record import Record

LEAST_COLUMNS: Final = 20
INDENT: Final = " " * 13
"""Indent of the continuation of a folded line, below its text."""
LABEL: Final = 16
"""Characters of the label before a progress bar."""
BARS: Final = (20, 10)
"""Lengths of a progress bar in characters, the longest first."""
MOST_SECONDS: Final = 100 * 60 - 1
"""Longest remaining time that is displayed."""
MIB: Final = 1024 * 1024
CLEAR: Final = "\x1b[K"
"""Erases from the cursor to the end of the line (ECMA-48, EL)."""

Fields = Mapping[str, Any]


def printable(text: object) -> str:
    """Return ``text`` with all control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def line_for(event: Fields, *, start: float = 0.0) -> str | None:
    """Return the line for ``event``, of any length, or None if the console does not show it.

    Times are shown as seconds since ``start``.
    """
    render = _RENDER.get(str(event.get("event")))
    if render is None:
        return None
    try:
        text = printable(render(event))
    except (KeyError, TypeError, ValueError):
        return None
    return f"{float(event.get('at', 0)) - start:8.2f}s  {text}"


def folded(line: str, columns: int) -> list[str]:
    """Return ``line`` folded to lines of at most ``columns``, complete."""
    width = max(LEAST_COLUMNS, columns)
    if len(line) <= width:
        return [line]
    indent = INDENT if width > 2 * len(INDENT) else "  "
    return wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)


def folding(write: Callable[[str], object], display: Display) -> Callable[[str], object]:
    """Return a writer of whole lines, which folds them where ``display`` folds."""

    def fold(text: str) -> None:
        lines = text.split("\n")
        write("\n".join(part for line in lines for part in folded(line, display.columns())))

    return fold if display.folds else write


def progress_bar(event: Fields, columns: int = COLUMNS) -> str:
    """Return a line of at most ``columns`` for a `fetch.progress` event.

    As it narrows, it drops the time left, the rate, the bar and the amount, in this order.
    """
    done, size = int(event["done"]), max(1, int(event["size"]))
    amount = f"{done / MIB:.1f} of {size / MIB:.1f} MiB"
    rate, left = _pace(event, size - done)
    wide, narrow = (f"[{_bar(done, size, length)}] {amount}" for length in BARS)
    name = f"  {printable(event['artifact'])[:LABEL]:<10} "
    told = (wide + rate + left, narrow + rate + left, narrow + rate, narrow, amount)
    drawn = [name + each for each in (*told, f"{min(100, 100 * done // size)} %")]
    return next((each for each in drawn if len(each) <= columns), drawn[-1])[: max(0, columns)]


def _bar(done: int, size: int, length: int) -> str:
    filled = min(length, length * done // size)
    return "#" * filled + "-" * (length - filled)


def _pace(event: Fields, left: int) -> tuple[str, str]:
    """Return rate and remaining time, where they are known."""
    rate = max(0, int(event.get("rate") or 0))
    if not rate:
        return "", ""
    minutes, seconds = divmod(min(max(0, left) // rate, MOST_SECONDS), 60)
    return f", {rate / MIB:.1f} MiB/s", f", {minutes}:{seconds:02} left"


def _transition(event: Fields) -> str:
    cause = f"  ({event['cause']})" if event.get("cause") else ""
    moved = f"{event['source']} -> {event['target']}"
    return f"{moved:<24}{event['trigger']}{cause}, {event['elapsed']:.2f} s"


def _recalled(event: Fields) -> str:
    root = f"root {event['root']}" if event["root"] is not None else "the policy's keys"
    if not event["kept"]:
        return f"  trust: {root}; versions seen are not remembered"
    return f"  trust: {root}; highest version seen: {event['seen'] or 'none yet'}"


def _done(event: Fields) -> str:
    mib, seconds = event["size"] / MIB, event["seconds"]
    rate = f" at {mib / seconds:.1f} MiB/s" if seconds > 0 else ""
    source = str(event["source"]).removeprefix("http://")
    return f"  {event['artifact']:<10} {mib:.1f} MiB verified{rate}, from {source}"


def _served(event: Fields) -> str:
    mib, seconds = int(event["bytes"]) / MIB, max(float(event["seconds"]), 0.001)
    source = str(event["source"]).removeprefix("http://")
    return f"  {event['artifact']:<10} {mib:.1f} MiB at {mib / seconds:.1f} MiB/s from {source}"


def _inspected(event: Fields) -> str:
    version = f" {event['version']}" if event["version"] else ""
    packing = f" ({event['packing']})" if event["packing"] else ""
    first = f"; by the firmware: {event['reason']}" if event["first"] == "chainload" else ""
    return f"  kernel: {event['format']}{packing}{version}{first}"


_RENDER: Final[Mapping[str, Callable[[Fields], str]]] = MappingProxyType(
    {
        "run.started": lambda e: f"Phase Boot on {e['arch']}, mode {e['mode']}",
        "run.interrupted": lambda e: (
            f"the previous run was killed after {e['lines']} events; continuing from its files"
        ),
        "transition": _transition,
        "clock.set": lambda e: f"  clock set to {e['after']}; it said {e['before']}",
        "clock.not_set": lambda e: f"  clock not set: {e['reason']}",
        "link.up": lambda e: f"  {e['interface']} has {', '.join(e['addresses'])}",
        "link.missing": lambda e: f"  {e['reason']}",
        "link.refused": lambda e: f"  {e['interface']} is not used: {e['reason']}",
        "privacy.checked": lambda e: f"  Private verified on {', '.join(e['interfaces'])}",
        "store.opened": lambda e: (
            f"  store {'on Cache' if e['persistent'] else 'in memory'}"
            + (f": {e['note']}" if e.get("note") else "")
        ),
        "store.corrupt": lambda e: f"  set aside: {e['reason']}",
        "finder.failed": lambda e: f"  {e['finder']}: {e['reason']}",
        "reply.ignored": lambda e: f"  {e['finder']}: ignored {e['reason']}",
        "candidate.found": lambda e: f"  {e['finder']}: {e['url']}",
        "candidate.deferred": lambda e: (
            f"  asked again in {float(e['seconds']):.1f} s: {e['reason']}"
        ),
        "document.redirected": lambda e: f"  redirected to {e['target']}",
        "candidate.refused": lambda e: f"  refused ({e['code']}): {e['reason']}",
        "trust.recalled": _recalled,
        "state.doubted": lambda e: f"  warning ({e['code']}): {e['reason']}",
        "state.not_kept": lambda e: f"  not saved: {e['reason']}",
        "root.followed": lambda e: f"  root {e['version']} is trusted now, from {e['url']}",
        "record.accepted": lambda e: f"  record {e['sequence']} of {e['name']}",
        "manifest.verified": lambda e: (
            f"  {e['channel']} {e['version']} signed by {len(e['keys'])} trusted key(s)"
        ),
        "fetch.done": _done,
        "source.served": _served,
        "chunk_list.unavailable": lambda e: f"  {e['artifact']} as a whole: {e['reason']}",
        "source.failed": lambda e: f"  {e['artifact']} from {e['source']}: {e['reason']}",
        "kernel.inspected": _inspected,
        "kexec.failed": lambda e: f"  {e['method']} refused: {e['reason']}",
        "loader.staged": lambda e: f"  staged {e['version']} for the firmware, restarting",
        "loader.cleared": lambda e: f"  {e['files']} file(s) of an earlier hand-off removed",
        "loader.not_cleared": lambda e: f"  files of an earlier hand-off remain: {e['reason']}",
        "kexec.loaded": lambda e: f"  loaded by {e['method']}",
        "kexec.jump": lambda e: f"  starting {e['version']}",
        "retry.scheduled": lambda e: (
            f"  tries again in {float(e['seconds']):.0f} s; press a key to stay here"
        ),
        "retry.early": lambda e: f"  tries again now: {e['reason']}",
        "retry.stopped": lambda _: "  a key was pressed: waiting for a person",
        "shell.chose": lambda e: f"  a person chose: {str(e['action']).replace('_', ' ')}",
        "network.set": lambda e: (
            f"  {e['interface']} set to {', '.join(e['addresses']) or 'DHCP'}"
            + (f" in VLAN {e['vlan']}" if e["vlan"] is not None else "")
        ),
        "network.not_set": lambda e: f"  the network is unchanged: {e['reason']}",
        "report.saved": lambda e: f"  report saved: {e['where']}",
        "report.not_saved": lambda e: f"  no report saved: {e['reason']}",
        "sink.lost": lambda e: f"  the journal is no longer written to {e['sink']}: {e['reason']}",
        "crashed": lambda e: f"  a fault in {e['state']}: {e['error']}",
    }
)


class Console:
    """Implements `journal.Sink` for a terminal: lines, and one progress bar that is redrawn."""

    name = "console"

    def __init__(
        self,
        write: Callable[[str], object],
        display: Display = FILE,
        *,
        start: float = 0.0,
    ) -> None:
        """Draw with ``write``, which takes the text, on ``display``.

        Times are shown as seconds since ``start``.
        """
        self._write = write
        self._display = display
        self._start = start
        self._bar_shown = False

    def write(self, record: Record) -> None:
        """Render a record of the journal."""
        self.show(record.fields)

    def show(self, event: Fields) -> None:
        """Render the fields of an event, which may come from a line of another process."""
        if event.get("event") == "fetch.progress":
            self.draw(event)
            return
        text = line_for(event, start=self._start)
        if text is None:
            return
        lines = folded(text, self._display.columns()) if self._display.folds else [text]
        self._write(self._clearing() + "".join(f"{line}\n" for line in lines))

    def draw(self, progress: Fields) -> None:
        """Draw a `fetch.progress` event as the bar, where the display can move its cursor."""
        if self._display.moves:
            self._write(f"\r{progress_bar(progress, self._display.columns())}{CLEAR}")
            self._bar_shown = True

    def clear(self) -> None:
        """Erase the bar, if one is drawn."""
        if clearing := self._clearing():
            self._write(clearing)

    def _clearing(self) -> str:
        clearing = f"\r{CLEAR}" if self._bar_shown else ""
        self._bar_shown = False
        return clearing

    def flush(self) -> None:
        """Do nothing: a terminal has no durable state."""
