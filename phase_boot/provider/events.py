"""Events of a provider: sentences on a terminal, and one JSON object per line elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from phase_boot.console.display import display_of
from phase_boot.console.lines import folded, printable
from phase_boot.journal.event import Event
from phase_boot.journal.record import encoded, values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The provider serves at these base URLs."""

    event = "serve.started"
    site: str
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingOffered(Event):
    """The SITE or store holds no version that could be served; ``way_out`` says what helps."""

    event = "serve.empty"
    site: str
    way_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswered(Event):
    """One request after its end. ``bytes`` counts the sent bytes of the body."""

    event = "request"
    peer: str
    method: str
    path: str
    status: int
    bytes: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptKept(Event):
    """A valid receipt was stored; ``file`` is its name in the node's folder."""

    event = "receipt.kept"
    peer: str
    node: str
    job: str
    outcome: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsSuppressed(Event):
    """Summary of answered requests whose log lines were suppressed.

    ``peer`` is the client's IPv4 address or IPv6 /64; it is empty for all further addresses
    together. ``bytes`` counts sent bytes, ``errors`` failed requests, and ``receipts`` stored
    receipts.
    """

    event = "requests.suppressed"
    peer: str
    requests: int
    receipts: int
    bytes: int
    errors: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced(Event):
    """A version is announced on an interface."""

    event = "announce.shown"
    interface: str
    channel: str
    arch: str
    manifest_cid: str
    mirror: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """An announcement was withdrawn."""

    event = "announce.withdrawn"
    interface: str
    channel: str
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceFailed(Event):
    """mDNS failed on an interface; it is retried."""

    event = "announce.failed"
    interface: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """The provider has stopped cleanly."""

    event = "serve.stopped"


Emit = Callable[[Event], None]


def to_stdout(event: Event) -> None:
    """Write one line of JSON; a failed write does not stop the provider."""
    _write(as_line(event))


def to_person(event: Event) -> None:
    """Write a sentence for a terminal, folded, with control characters escaped."""
    now = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
    line, display = f"{now}  {printable(as_sentence(event))}", display_of(sys.stdout)
    _write("\n".join(folded(line, display.columns()) if display.folds else [line]))


def as_sentence(event: Event) -> str:  # noqa: PLR0911 - a table of one sentence each
    """Return the sentence of an event."""
    match event:
        case Started():
            return f"Serving {event.site} at {', '.join(event.urls)}; Ctrl-C ends it."
        case NothingOffered():
            return f"{event.site} holds nothing to boot yet: {event.way_out}."
        case RequestAnswered():
            fault = f" ({event.error})" if event.error else ""
            what = f"{event.peer} {event.method} {event.path}: {event.status}{fault}"
            return f"{what}, {event.bytes} bytes in {event.seconds:.2f} s"
        case ReceiptKept():
            return f"{event.peer} posted a receipt of {event.job}: {event.outcome}"
        case RequestsSuppressed():
            what = f"{event.requests} more requests from {event.peer or 'other addresses'}"
            sent = f"{event.bytes} bytes, {event.errors} failed"
            kept = f", {event.receipts} receipts kept" if event.receipts else ""
            return f"{what} within {event.seconds:.0f} s: {sent}{kept}"
        case Announced():
            return f"{event.channel} for {event.arch} is announced on {event.interface}"
        case Withdrawn():
            return f"{event.channel} for {event.arch} is no longer announced on {event.interface}"
        case AnnounceFailed():
            where = f" on {event.interface}" if event.interface else ""
            return f"Nothing is announced{where}: {event.reason}"
        case Stopped():
            return "Stopped."
        case _:
            return event.event


def _write(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        # Python flushes once more at exit, and would print an error then.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_line(event: Event) -> str:
    """Return an event as ASCII JSON, so that no untrusted byte reaches a terminal."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return encoded({"event": event.event, "time": now, **values_of(event)})
