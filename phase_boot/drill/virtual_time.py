"""An asyncio event loop with virtual time: when all tasks wait, it jumps to the next timer.

A boot that waits for hours runs in milliseconds, and always in the same order.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FOR_EVER: Final = 1e9
"""Seconds: longer than every timer of a boot."""
NOON = datetime(2025, 11, 20, 12, tzinfo=UTC)


class Deadlock(Exception):
    """Every task waits and no timer is set: in real time this would hang for ever."""


class _Jumping(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise Deadlock
            self.now += max(0.0, timeout)
        return events


class ThreadHangs(BaseException):
    """Raised in place of a thread that hangs; the result of the thread never arrives."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs executor functions at once in the caller's thread, because threads use real time.

    Their result arrives in a later iteration, when the waiting task may have been cancelled.
    """

    _threads = 0

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    @classmethod
    def in_thread(cls) -> bool:
        """Say whether the caller runs in an executor function."""
        return cls._threads > 0

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(
        self, _executor: object, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        VirtualLoop._threads += 1
        try:
            result = func(*args)
        except ThreadHangs:
            pass
        except Exception as error:  # noqa: BLE001 - goes to the awaiting task
            self.call_soon(_unless_cancelled, future, future.set_exception, error)
        else:
            self.call_soon(_unless_cancelled, future, future.set_result, result)
        finally:
            VirtualLoop._threads -= 1
        return future


def _unless_cancelled(
    future: asyncio.Future[T], deliver: Callable[[Any], object], what: object
) -> None:
    if not future.cancelled():
        deliver(what)


class VirtualClock:
    """Implements `ports.clock.Clock` on the loop's time."""

    def __init__(self, start: datetime = NOON) -> None:
        self.start = start

        self._offset = timedelta()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> datetime:
        return self.start + self._offset + timedelta(seconds=self.monotonic())

    def set_wall(self, to: datetime) -> None:
        self._offset += to - self.wall()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
