"""The driver: runs the handler of a state, follows its trigger and records the move.

It is the only task that fires triggers and the only writer of `Transition` events. A handler is a
plugin and untrusted in its behaviour: it runs in a task of its own with a time limit, its result is
checked, and any exception becomes a drawn move.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

from phase_boot.journal.run_events import Crashed, StateEntered, Transition
from phase_boot.machine.boot import BootContext, Failure, Images
from phase_boot.machine.cleanup import release
from phase_boot.machine.errors import BootError, OutOfTime, route
from phase_boot.machine.graph import TERMINAL, State, Trigger, triggers_of
from phase_boot.machine.guard import Guard
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.retries import MIN_PAUSE_SECONDS, Retry
from phase_boot.machine.watchdog import GRACE_SECONDS, Watchdog, watchdog_running
from phase_boot.store.content_store import VerifiedFile
from phase_boot.trust.verify import Verified

MAX_STEPS: Final = 1000
"""Moves without a person or a pause, after which the walk counts as an endless loop."""
MAX_CANCELS: Final = 3
"""Cancellations of a handler before it is abandoned."""


class StepLimitExceeded(Exception):
    """The machine made `MAX_STEPS` moves without reaching an end, a person or a pause."""


class HandlerContractViolation(Exception):
    """A handler returned an invalid step, or ended without one; the text has the details."""


async def drive(
    handlers: Mapping[State, Handler], ports: Ports, boot: BootContext
) -> tuple[State, BootContext]:
    """Walk the graph from its start to a terminal state; return that state and the final facts.

    At every end of the walk, also by cancellation, the images are closed and Cache is released.

    Raises:
        StepLimitExceeded: the walk did not end.
    """
    walk = _Walk(handlers, ports, boot)
    try:
        async with watchdog_running(ports.supervisor) as watchdog:
            return await walk.run(watchdog), walk.boot
    finally:
        await release(ports, walk.boot)


class _Walk:
    """One walk along the graph: the current state, and the facts known there."""

    def __init__(self, handlers: Mapping[State, Handler], ports: Ports, boot: BootContext) -> None:
        self._handlers = handlers
        self._ports = ports
        self._guard = Guard()
        self._visits = dict.fromkeys(State, 0)
        self.boot = boot

    async def run(self, watchdog: Watchdog) -> State:
        """Move until a terminal state is reached, and return it."""
        moves = 0
        while moves < MAX_STEPS:
            source = self._guard.state
            if source in TERMINAL:
                return source
            watchdog.entered(source, self._handlers[source].budget)
            moves = 0 if await self._move(source) else moves + 1
        raise StepLimitExceeded(f"the machine made {MAX_STEPS} moves without an end")

    async def _move(self, source: State) -> bool:
        """Run the handler of ``source``, follow its trigger, and return whether it has waited.

        It has if a person was asked, or if a pause preceded the automatic retry.
        """
        ports, now = self._ports, asyncio.get_running_loop().time
        self._visits[source] += 1
        attempt, entered = self._visits[source], now()
        ports.emit(StateEntered(state=source, attempt=attempt))
        step, cause = await _run(self._handlers[source], ports, self.boot)
        target, self.boot = self._guard.advance(step.trigger), step.boot
        elapsed = now() - entered
        ports.emit(
            Transition(
                source=source,
                trigger=step.trigger,
                target=target,
                cause=cause,
                attempt=attempt,
                elapsed=elapsed,
            )
        )
        is_automatic = step.trigger is Trigger.AUTO_RETRY
        return source is State.SHELL and (not is_automatic or elapsed >= MIN_PAUSE_SECONDS)


async def _run(handler: Handler, ports: Ports, boot: BootContext) -> tuple[Step, str | None]:
    """Run one handler; each of its possible ends becomes a drawn trigger."""
    drawn = triggers_of(handler.state)
    try:
        return _checked(handler, await _within_budget(handler, ports, boot)), None
    except BootError as error:
        failure: BaseException = error
    except (asyncio.CancelledError, KeyboardInterrupt):
        # The run itself is cancelled; a handler that cancels itself violates its contract instead.
        raise
    except BaseException as error:  # noqa: BLE001 - every exception of a plugin ends in a drawn move
        trace = "".join(traceback.format_exception(error, limit=-8))
        ports.emit(Crashed(state=handler.state, error=repr(error), trace=trace))
        failure = error
    retry = failure.retry if isinstance(failure, BootError) else Retry.LATE
    recorded = Failure(
        name=type(failure).__name__, sentence=_sentence(failure, handler), retry=retry
    )
    return Step(route(failure, drawn), replace(boot, failure=recorded)), recorded.name


async def _within_budget(handler: Handler, ports: Ports, boot: BootContext) -> Step:
    """Run a handler in its own task, so that it cannot swallow a cancellation of the driver."""
    task = asyncio.create_task(_run_contained(handler, ports, boot), name=handler.state.value)
    try:
        await asyncio.wait({task}, timeout=handler.budget)
    except BaseException:
        await _stop(task)
        raise
    if not task.done():
        await _stop(task)
        raise OutOfTime(f"{handler.state} did not end within {handler.budget:g} seconds")
    if task.cancelled():
        raise HandlerContractViolation(f"the handler of {handler.state} cancelled itself")
    return task.result()


async def _run_contained(handler: Handler, ports: Ports, boot: BootContext) -> Step:
    try:
        return await handler.run(ports, boot)
    except SystemExit as error:
        # asyncio would raise it out of the event loop, past the driver.
        raise HandlerContractViolation(
            f"the handler of {handler.state} wanted to exit ({error})"
        ) from error


async def _stop(task: asyncio.Task[Step]) -> None:
    """Cancel a handler, up to `MAX_CANCELS` times if it continues, and then abandon it.

    A cancellation of the driver meanwhile ends it afterwards, so that no handler outlives it.
    """
    cancellation: asyncio.CancelledError | None = None
    for _ in range(MAX_CANCELS):
        if task.done():
            break
        task.cancel()
        cancellation = await _settle(task, GRACE_SECONDS / MAX_CANCELS) or cancellation
    if task.done() and not task.cancelled() and task.exception() is None:
        # It returned a result after all, which is no longer used.
        _drop(task.result())
    if cancellation is not None:
        raise cancellation


async def _settle(task: asyncio.Task[Step], seconds: float) -> asyncio.CancelledError | None:
    """Wait for a task; return a cancellation that arrived meanwhile, instead of raising it."""
    loop, cancellation = asyncio.get_running_loop(), None
    until = loop.time() + seconds
    while not task.done() and (left := until - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError as error:
            cancellation = error
    return cancellation


def _drop(step: Step) -> None:
    """Close the images of a step that is not taken."""
    held = getattr(getattr(step, "boot", None), "images", None)
    for field in fields(held) if isinstance(held, Images) else ():
        image = getattr(held, field.name)
        if isinstance(image, VerifiedFile):
            image.close()


def _checked(handler: Handler, step: Step) -> Step:
    if not isinstance(step, Step) or step.trigger not in handler.leads:
        _drop(step)
        raise HandlerContractViolation(f"the handler of {handler.state} returned {step!r:.200}")
    if forged := _forged(step.boot):
        _drop(step)
        raise HandlerContractViolation(f"the handler of {handler.state} returned {forged}")
    return step


def _forged(boot: BootContext) -> str | None:
    """Return the fact of ``boot`` that lacks its proof, or None if all have theirs."""
    if not isinstance(boot, BootContext):
        return "no BootContext"
    if not isinstance(boot.manifest, Verified | None):
        return "an unverified manifest"
    if boot.images is None:
        return None
    if not isinstance(boot.images, Images) or boot.manifest is None:
        return "images without a manifest"
    signed = boot.manifest.manifest.artifacts
    for field in fields(boot.images):
        image = getattr(boot.images, field.name)
        optional = image is None and field.default is None
        if not optional and not (
            isinstance(image, VerifiedFile) and image.artifact == signed.get(field.name)
        ):
            return f"another {field.name} than the manifest names"
    return None


def _sentence(failure: BaseException, handler: Handler) -> str:
    if isinstance(failure, BootError):
        return str(failure)
    return (
        f"the state {handler.state} failed in an unforeseen way ({type(failure).__name__}); "
        "the journal has the details"
    )
