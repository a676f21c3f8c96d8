"""The loop: run a state's handler, follow its trigger, write down the move.

The driver is the only task that fires triggers and the only writer of
`Transition` events.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from phase_boot.machine.boot import Boot, Trouble
from phase_boot.machine.errors import BootError, OutOfTime
from phase_boot.machine.events import Crashed, StateEntered, Transition
from phase_boot.machine.graph import TERMINAL, State, triggers_of
from phase_boot.machine.guard import Guard
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.machine.pulse import Pulse, pulsing
from phase_boot.machine.routing import route

MAX_STEPS: Final = 1000
"""Moves without a person; a walk that long goes in circles and is ended (never a loop)."""


class RanInCircles(Exception):
    """The machine moved `MAX_STEPS` times without ending or asking a person."""


async def drive(handlers: Mapping[State, Handler], world: World, boot: Boot) -> tuple[State, Boot]:
    """Walk the graph from its start to a terminal state, and return where and with what.

    Raises:
        RanInCircles: the walk did not end.
    """
    async with pulsing(world.supervisor, world.clock) as pulse:
        return await _walk(handlers, world, boot, pulse)


async def _walk(
    handlers: Mapping[State, Handler], world: World, boot: Boot, pulse: Pulse
) -> tuple[State, Boot]:
    guard = Guard()
    visits = dict.fromkeys(State, 0)
    moves = 0
    while moves < MAX_STEPS:
        source = guard.state
        moves = 0 if source is State.SHELL else moves + 1
        if source in TERMINAL:
            return source, boot
        visits[source] += 1
        entered = world.clock.monotonic()
        pulse.entered(source, handlers[source].budget)
        world.emit(StateEntered(state=source, attempt=visits[source]))
        step, cause = await _run(handlers[source], world, boot)
        target, boot = guard.advance(step.trigger), step.boot
        world.emit(
            Transition(
                source=source,
                trigger=step.trigger,
                target=target,
                cause=cause,
                attempt=visits[source],
                elapsed=world.clock.monotonic() - entered,
            )
        )
    raise RanInCircles(f"the machine made {MAX_STEPS} moves without an end")


async def _run(handler: Handler, world: World, boot: Boot) -> tuple[Step, str | None]:
    """Run one handler; every way it can end becomes a trigger that is drawn."""
    drawn = triggers_of(handler.state)
    try:
        return _kept_promise(handler, await _within_budget(handler, world, boot)), None
    except BootError as error:
        failure: Exception = error
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises must end in a drawn move
        trace = traceback.format_exc(limit=-8)
        world.emit(Crashed(state=handler.state, error=repr(error), trace=trace))
        failure = error
    trouble = Trouble(name=type(failure).__name__, sentence=_sentence(failure, handler))
    return Step(route(failure, drawn), replace(boot, trouble=trouble)), trouble.name


async def _within_budget(handler: Handler, world: World, boot: Boot) -> Step:
    scope = asyncio.timeout(handler.budget)
    try:
        async with scope:
            return await handler.run(world, boot)
    except TimeoutError as error:
        if not scope.expired():
            raise
        spent = f"{handler.state} did not end within {handler.budget:g} seconds"
        raise OutOfTime(spent) from error


def _kept_promise(handler: Handler, step: Step) -> Step:
    if not isinstance(step, Step) or step.trigger not in handler.leads:
        raise TypeError(f"the handler of {handler.state} returned {step!r:.200}")
    return step


def _sentence(failure: Exception, handler: Handler) -> str:
    if isinstance(failure, BootError):
        return str(failure)
    return (
        f"the state {handler.state} failed in an unforeseen way ({type(failure).__name__}); "
        "the journal has the details"
    )
