"""Progress of a long command: at most four redraws a second, and only on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO, TypeAlias

from phase_boot.console.display import display_of
from phase_boot.console.lines import Console, progress_bar

DRAWN_SECONDS: Final = 0.25
PLAIN_SECONDS: Final = 10.0
"""Seconds between progress lines on a dumb terminal, where each line stays."""

Report: TypeAlias = Callable[[str, int, int], None]
"""Takes the name of a step, the bytes done, and the bytes in all."""


@contextmanager
def progress(stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Yield a `Report` that shows progress on ``stream``; erase the bar at the end.

    As with git, a file or a pipe gets no progress.

    Args:
        stream: standard error.
        now: returns seconds.
    """
    display = display_of(stream)
    console = Console(stream.write, display)

    def add(fields: dict[str, object]) -> None:
        stream.write(f"{progress_bar(fields, display.columns())}\n")

    if not display.folds:
        yield unreported
    elif not display.moves:
        yield _Pace(add, PLAIN_SECONDS, now)
    else:
        try:
            yield _Pace(console.draw, DRAWN_SECONDS, now, steps=True)
        finally:
            # A closed terminal must not end the command.
            with suppress(OSError):
                console.clear()


def unreported(_step: str, _done: int, _size: int) -> None:
    """Show nothing (a `Report`)."""


class _Pace:
    """A `Report` that limits how often progress is shown."""

    def __init__(
        self,
        show: Callable[[dict[str, object]], None],
        pause: float,
        now: Callable[[], float],
        *,
        steps: bool = False,
    ) -> None:
        """Call ``show`` after each ``pause`` seconds.

        With ``steps``, also call it when a step begins, unless nothing was shown yet: the step may
        take long before it reports again.
        """
        self._show = show
        self._pause = pause
        self._now = now
        self._steps = steps
        self._shown = self._began = now()
        self._step: str | None = None
        self._first = self._done = 0
        self._any = False

    def __call__(self, step: str, done: int, size: int) -> None:
        now = self._now()
        begins = step != self._step or done < self._done
        if begins:
            self._step, self._began, self._first = step, now, done
        self._done = done
        if now - self._shown < self._pause and not (begins and self._steps and self._any):
            return
        self._shown, self._any = now, True
        seconds = now - self._began
        rate = int((done - self._first) / seconds) if seconds > 0 else 0
        with suppress(OSError):
            self._show({"artifact": step, "done": done, "size": size, "rate": rate})
