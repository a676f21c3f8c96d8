"""Watchdog messages: sent while the boot advances, and withheld when it is stuck."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.fakes import FakeSupervisor
from phase_boot.drill.scenario import Scenario, lan_scenario, replaced
from phase_boot.machine.boot import BootContext
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.watchdog import GRACE_SECONDS

PERIOD = 15.0


def supervised(run: Any, *, budget: float = 100.0) -> Scenario:
    scenario = lan_scenario(peer=good_server())
    scenario.supervisor = FakeSupervisor(period=PERIOD)
    scenario.handlers = replaced(
        Handler(state=State.DISCOVER, run=run, leads=frozenset({Trigger.FOUND}), budget=budget)
    )
    return scenario


def test_the_supervisor_hears_of_every_state_and_that_the_boot_has_begun() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.run()
    assert scenario.supervisor.started == 1
    assert scenario.supervisor.reported == [
        state.value for state in scenario.walk.states if state is not State.TARGET
    ]


def test_a_state_that_takes_its_time_within_its_budget_is_alive() -> None:
    async def slow(_world: Ports, _boot: BootContext) -> Step:
        await asyncio.sleep(89)
        raise ValueError

    scenario = supervised(slow)
    scenario.run()
    assert scenario.supervisor.reported.count("discover") == 1 + int(89 // PERIOD)


def test_a_state_that_does_not_let_itself_be_cancelled_gives_no_more_signs() -> None:
    async def stubborn(_world: Ports, _boot: BootContext) -> Step:
        deadline = asyncio.get_running_loop().time() + 1000
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        raise ValueError

    scenario = supervised(stubborn)
    scenario.run()
    heard = scenario.supervisor.reported.count("discover")
    assert heard == 1 + int((100 + GRACE_SECONDS) // PERIOD)


def test_no_task_is_left_when_the_boot_is_cancelled() -> None:
    async def hang(_world: Ports, _boot: BootContext) -> Step:
        await asyncio.sleep(1e9)
        raise AssertionError

    async def cancelled() -> set[asyncio.Task[Any]]:
        driving = asyncio.create_task(supervised(hang, budget=1e8).drive())
        await asyncio.sleep(60)
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert virtual_time.run(cancelled()) == set()
