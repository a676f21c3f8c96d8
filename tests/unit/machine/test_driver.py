"""The driver around misbehaving plugins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.scenario import Scenario, lan_scenario, replaced
from phase_boot.machine.boot import BootContext
from phase_boot.machine.driver import MAX_STEPS, StepLimitExceeded
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.ports.operator import Answer, MenuAction


def with_plugin(run: Any, **changes: Any) -> Scenario:
    """Return a boot with a plugin for Discover."""
    facts: dict[str, Any] = {
        "state": State.DISCOVER,
        "run": run,
        "leads": frozenset({Trigger.FOUND}),
        "budget": 10.0,
    }
    scenario = lan_scenario(peer=good_server())
    scenario.handlers = replaced(Handler(**(facts | changes)))
    return scenario


def test_a_plugin_that_raises_is_journalled_as_a_crash_and_ends_in_the_shell() -> None:
    async def boom(_world: Ports, _boot: BootContext) -> Step:
        raise ZeroDivisionError("boom")

    scenario = with_plugin(boom)
    assert scenario.run() is State.OFF
    (crash,) = scenario.of("crashed")
    assert "ZeroDivisionError" in crash["error"]
    assert "boom" in crash["trace"]
    assert "unforeseen way" in scenario.cause
    assert "Traceback" not in scenario.cause
    assert scenario.walk.states[-2:] == (State.SHELL, State.OFF)


def test_a_plugin_that_hangs_is_cancelled_when_its_budget_is_spent() -> None:
    cancelled = []

    async def hang(_world: Ports, _boot: BootContext) -> Step:
        try:
            await asyncio.sleep(1e6)
        finally:
            cancelled.append(True)
        raise AssertionError

    scenario = with_plugin(hang)
    assert scenario.run() is State.OFF
    assert cancelled == [True]
    (move,) = [e for e in scenario.of("transition") if e["source"] == "discover"]
    assert (move["cause"], move["elapsed"]) == ("OutOfTime", 10.0)


def test_a_timeout_inside_a_plugin_is_a_crash_and_not_a_spent_budget() -> None:
    async def impatient(_world: Ports, _boot: BootContext) -> Step:
        async with asyncio.timeout(1):
            await asyncio.sleep(5)
        raise AssertionError

    scenario = with_plugin(impatient)
    assert scenario.run() is State.OFF
    assert scenario.of("crashed")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "found",
        Trigger.FOUND,
        Step(Trigger.JUMPED, BootContext()),
        Step(Trigger.LEAVE, BootContext()),
    ],
    ids=["none", "text", "bare-trigger", "jump-from-discover", "leave-from-discover"],
)
def test_a_plugin_with_an_undeclared_trigger_cannot_move_the_machine(
    answer: Any,
) -> None:
    async def foreign(_world: Ports, _boot: BootContext) -> Any:
        return answer

    scenario = with_plugin(foreign)
    assert scenario.run() is State.OFF
    assert not scenario.kexec.jumped
    assert scenario.of("crashed")


def test_the_jump_cannot_be_reached_without_a_verified_manifest() -> None:
    async def skip(_world: Ports, boot: BootContext) -> Step:
        return Step(Trigger.VERIFIED, replace(boot, manifest=None))

    scenario = with_plugin(skip, state=State.VERIFY, leads=frozenset({Trigger.VERIFIED}))
    assert scenario.run() is State.OFF
    assert scenario.kexec.kernel is None
    assert "without a manifest" in scenario.cause


def test_an_endless_cycle_of_states_is_ended() -> None:
    async def again(_world: Ports, boot: BootContext) -> Step:
        return Step(Trigger.REFUSED, boot)

    scenario = with_plugin(again, state=State.VERIFY, leads=frozenset({Trigger.REFUSED}))
    with pytest.raises(StepLimitExceeded):
        scenario.run()
    assert len(scenario.of("transition")) == MAX_STEPS


def test_a_person_may_retry_as_often_as_they_like() -> None:
    scenario = lan_scenario(bad=FakeServer({}))
    scenario.operator.answers = [Answer(MenuAction.RETRY)] * MAX_STEPS
    assert scenario.run() is State.OFF


def test_a_second_cancellation_leaves_no_state_behind() -> None:
    ended = []

    async def slow_to_end(_world: Ports, _boot: BootContext) -> Step:
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.sleep(0.5)
            ended.append(True)
        raise AssertionError

    scenario = with_plugin(slow_to_end, budget=None)

    async def cancelled_twice() -> None:
        task = asyncio.ensure_future(scenario.drive())
        await asyncio.sleep(1)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.1)
        await task

    with pytest.raises(asyncio.CancelledError):
        virtual_time.run(cancelled_twice())
    assert ended == [True]


def test_cancelling_the_boot_cancels_the_state() -> None:
    async def hang(_world: Ports, _boot: BootContext) -> Step:
        await asyncio.sleep(1e6)
        raise AssertionError

    scenario = with_plugin(hang, budget=None)

    async def cancelled() -> None:
        task = asyncio.ensure_future(scenario.drive())
        await asyncio.sleep(1)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        virtual_time.run(cancelled())
    assert not scenario.of("crashed")


def test_a_shell_that_retries_without_a_pause_is_ended() -> None:
    async def hasty(_world: Ports, boot: BootContext) -> Step:
        return Step(Trigger.AUTO_RETRY, boot)

    scenario = lan_scenario(bad=FakeServer({}))
    shell = Handler(
        state=State.SHELL, run=hasty, leads=frozenset({Trigger.AUTO_RETRY}), budget=None
    )
    scenario.handlers = replaced(shell)
    with pytest.raises(StepLimitExceeded):
        scenario.run()


def test_thousands_of_retries_with_pauses_are_not_ended() -> None:
    rounds = 2 * MAX_STEPS

    async def patient(_world: Ports, boot: BootContext) -> Step:
        nonlocal rounds
        await asyncio.sleep(5)
        rounds -= 1
        return Step(Trigger.AUTO_RETRY if rounds else Trigger.LEAVE, boot)

    scenario = lan_scenario(bad=FakeServer({}))
    scenario.handlers = replaced(
        Handler(
            state=State.SHELL,
            run=patient,
            leads=frozenset({Trigger.AUTO_RETRY, Trigger.LEAVE}),
            budget=None,
        )
    )
    assert scenario.run() is State.OFF
