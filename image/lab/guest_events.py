"""Parse the JSON lines that a guest writes to its port `org.phase_boot.events`.

Unknown fields are kept. A line that is no event becomes an `Unreadable`, so that no output of a
guest is lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

PORT = "org.phase_boot.events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A line that is no event, and the reason."""

    line: bytes
    reason: str
    arrived: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a guest.

    Attributes:
        at: seconds since the start of the guest's kernel.
        arrived: seconds of the host's monotonic clock.
    """

    name: str
    seq: int
    at: float
    arrived: float
    fields: Mapping[str, object]

    @classmethod
    def parse(cls, line: bytes, arrived: float) -> Self | Unreadable:
        """Parse one line, without its newline."""
        try:
            found = json.loads(line)
        except ValueError as error:
            return Unreadable(line=line, reason=f"not JSON: {error}", arrived=arrived)
        if not isinstance(found, dict):
            return Unreadable(line=line, reason="not a JSON object", arrived=arrived)
        name, seq, at = found.get("event"), found.get("seq"), found.get("at")
        if not isinstance(name, str) or not name:
            return Unreadable(line=line, reason="`event` is no non-empty string", arrived=arrived)
        if not isinstance(seq, int) or isinstance(seq, bool):
            return Unreadable(line=line, reason="`seq` is no integer", arrived=arrived)
        if not isinstance(at, int | float) or isinstance(at, bool):
            return Unreadable(line=line, reason="`at` is no number", arrived=arrived)
        rest = {key: value for key, value in found.items() if key not in ("event", "seq", "at")}
        return cls(name=name, seq=seq, at=float(at), arrived=arrived, fields=rest)

    def text(self, field: str) -> str:
        """Return the field as text; empty when it is absent or null."""
        value = self.fields.get(field)
        return "" if value is None else str(value)

    def number(self, field: str) -> float:
        """Return the field as a number.

        Raises:
            TypeError: the field is absent or no number; the message names event and field.
        """
        value = self.fields.get(field)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"`{self.name}` has no number `{field}`: {value!r}.")
        return float(value)

    @property
    def kernel_started(self) -> float:
        """The start of the kernel that sent this, in seconds of the host's monotonic clock."""
        return self.arrived - self.at


class LineReader:
    """Splits a byte stream into events; a line that a kexec interrupted becomes an `Unreadable`."""

    def __init__(self, *, max_line: int = 1 << 20) -> None:
        self._rest = b""
        self._max_line = max_line

    def feed(self, data: bytes, arrived: float | None = None) -> list[Event | Unreadable]:
        """Add `data` and return the events that are complete now.

        `arrived` is in seconds of the host's monotonic clock; default: now.
        """
        moment = time.monotonic() if arrived is None else arrived
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > self._max_line:
            lines.append(self._rest)
            self._rest = b""
        return [Event.parse(line, moment) for line in lines if line.strip(b"\r\0 ")]
