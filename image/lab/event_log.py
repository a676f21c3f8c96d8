"""The events of one virtual machine: recorded by reader threads, awaited by the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from image.lab.guest_events import Event, Unreadable


class MachineFailed(RuntimeError):
    """An expected event did not arrive in time, or another one arrived instead."""


class EventLog:
    """Every event and every reset of the machine `name`; safe to use from several threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unreadable: list[Unreadable] = []
        self._events: list[Event] = []
        self._resets: list[float] = []
        self._ended = ""
        self._changed = threading.Condition()

    @property
    def events(self) -> tuple[Event, ...]:
        """All events so far, in order of arrival."""
        with self._changed:
            return tuple(self._events)

    def events_named(self, name: str, *, boot: int | None = None) -> list[Event]:
        """Return all events so far with this name; with `boot`, of that boot only."""
        return [event for event in self.events if event.name == name and self._is_of(event, boot)]

    @property
    def boots(self) -> int:
        """How often the firmware has started: once, and once more for each reset."""
        with self._changed:
            return 1 + len(self._resets)

    def boot_of(self, event: Event) -> int:
        """Return the boot to which `event` belongs, from 1; a kexec starts no new boot."""
        with self._changed:
            return 1 + sum(reset < event.kernel_started for reset in self._resets)

    def wait_for(
        self,
        name: str,
        *,
        timeout: float,
        fail_on: Sequence[str] = (),
        where: Callable[[Event], bool] = lambda _event: True,
        boot: int | None = None,
    ) -> Event:
        """Return the first event `name` that satisfies `where`; past events count.

        With `boot`, only events of that boot are considered.

        Raises:
            MachineFailed: `timeout` seconds pass, the machine ends, or an event arrives whose name
                is in `fail_on`.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            seen = 0
            while True:
                for event in self._events[seen:]:
                    if not self._is_of(event, boot):
                        continue
                    if event.name == name and where(event):
                        return event
                    if event.name in fail_on:
                        raise MachineFailed(f"{self.name}: {_summary(event)} instead of `{name}`.")
                seen = len(self._events)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = self._ended or f"not within {timeout:g} s"
                    raise MachineFailed(f"{self.name}: no `{name}`: {why}. {self._last_event()}")
                self._changed.wait(left)

    def _record(self, event: Event | Unreadable) -> None:
        with self._changed:
            if isinstance(event, Unreadable):
                self.unreadable.append(event)
                return
            self._events.append(event)
            self._changed.notify_all()

    def _record_reset(self) -> None:
        with self._changed:
            self._resets.append(time.monotonic())
            self._changed.notify_all()

    def _record_end(self, reason: str) -> None:
        """Wake every waiting thread: no more events follow. The first reason counts."""
        with self._changed:
            self._ended = self._ended or reason
            self._changed.notify_all()

    def _is_of(self, event: Event, boot: int | None) -> bool:
        return boot is None or self.boot_of(event) == boot

    def _last_event(self) -> str:
        last = _summary(self._events[-1]) if self._events else "none"
        count = len(self.unreadable)
        unreadable = f" {count} lines were no events." if count else ""
        return f"Last event: {last}.{unreadable}"


def _summary(event: Event) -> str:
    fields = ", ".join(f"{key} {value}" for key, value in event.fields.items() if key != "boot_id")
    return f"`{event.name}` at {event.at:.1f} s ({fields})" if fields else f"`{event.name}`"
