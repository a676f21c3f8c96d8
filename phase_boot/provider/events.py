"""What a provider tells: one JSON object per line, safe to look at in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The provider answers at these base addresses."""

    event: ClassVar[str] = "serve.started"
    site: str
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswered:
    """One request, once it is over. ``bytes`` are those of the body that were handed out."""

    event: ClassVar[str] = "request"
    peer: str
    method: str
    path: str
    status: int
    bytes: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptKept:
    """A machine handed in a receipt that is believed; ``file`` is its name in the node's folder."""

    event: ClassVar[str] = "receipt.kept"
    peer: str
    node: str
    job: str
    outcome: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A version is announced on an interface."""

    event: ClassVar[str] = "announce.shown"
    interface: str
    channel: str
    arch: str
    manifest_cid: str
    mirror: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """An announcement was taken back."""

    event: ClassVar[str] = "announce.withdrawn"
    interface: str
    channel: str
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceFailed:
    """mDNS does not work on an interface at the moment; it is tried again."""

    event: ClassVar[str] = "announce.failed"
    interface: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The provider has ended in good order."""

    event: ClassVar[str] = "serve.stopped"


Event = Started | RequestAnswered | ReceiptKept | Announced | Withdrawn | AnnounceFailed | Stopped
Tell = Callable[[Event], None]


def to_stdout(event: Event) -> None:
    """Write one line. An output that cannot be written is no reason to stop serving."""
    try:
        sys.stdout.write(as_line(event) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        # Python flushes once more when it ends, and would complain then.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_line(event: Event) -> str:
    """Return an event as JSON in ASCII, so that no foreign byte reaches a terminal as it is."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"event": event.event, "time": now, **asdict(event)}, ensure_ascii=True)
