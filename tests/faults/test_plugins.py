"""Plugins that misbehave in any state: the boot continues without them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import pytest

from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.drill.injection import Plan
from phase_boot.drill.invariants import verdicts
from phase_boot.drill.run import Run, run_scenario
from phase_boot.drill.scenario import OWN_HANDLERS, replaced
from phase_boot.drill.scenarios import SCENARIOS
from phase_boot.machine.boot import BootContext, Images, require
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step

Misbehaviour = Callable[[Handler, Ports, BootContext], Coroutine[Any, Any, Any]]
FOR_EVER: Final = 1e9


class NotAnException(BaseException):
    """Not caught by `except Exception`."""


async def raises(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    raise ZeroDivisionError


async def raises_a_group(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(raises(_own, _ports, _boot))


async def raises_a_base_exception(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    raise NotAnException


async def exits(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    raise SystemExit(0)


async def cancels_itself(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    raise asyncio.CancelledError


async def cancels_its_task(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def hangs(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    await asyncio.sleep(FOR_EVER)


async def ignores_the_first_cancellation(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    try:
        await asyncio.sleep(FOR_EVER)
    except asyncio.CancelledError:
        await asyncio.sleep(FOR_EVER)


async def returns_after_its_budget(own: Handler, ports: Ports, boot: BootContext) -> Any:
    try:
        await asyncio.sleep(FOR_EVER)
    except asyncio.CancelledError:
        return await own.run(ports, boot)


async def returns_none(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    return None


async def returns_another_type(_own: Handler, _ports: Ports, boot: BootContext) -> Any:
    return SimpleNamespace(trigger=Trigger.JUMPED, boot=boot)


async def returns_an_undeclared_trigger(own: Handler, _ports: Ports, boot: BootContext) -> Any:
    return Step(next(t for t in Trigger if t not in own.leads), boot)


async def returns_no_boot_context(own: Handler, _ports: Ports, _boot: BootContext) -> Any:
    return Step(next(iter(own.leads)), SimpleNamespace())  # type: ignore[arg-type] # the misbehaviour


async def forges_a_manifest(own: Handler, _ports: Ports, boot: BootContext) -> Any:
    forged: Any = SimpleNamespace(manifest=SimpleNamespace(artifacts={}))
    return Step(next(iter(own.leads)), replace(boot, manifest=forged))


async def forges_images(own: Handler, ports: Ports, boot: BootContext) -> Any:
    """Store unsigned bytes, which gives a `VerifiedFile`, and return it as the kernel."""
    step = await own.run(ports, boot)
    if step.boot.images is None or step.boot.store is None:
        raise ZeroDivisionError
    forged = Artifact("kernel", Digest.of(b"evil"), 4)
    with step.boot.store.cas.stream_writer(forged) as writer:
        writer.write(b"evil"[writer.offset :])
        evil = require(step.boot.store, "a store").cas.commit(writer)
    step.boot.images.kernel.close()
    images = replace(step.boot.images, kernel=evil)
    return Step(step.trigger, replace(step.boot, images=images))


async def swaps_images(own: Handler, ports: Ports, boot: BootContext) -> Any:
    step = await own.run(ports, boot)
    if step.boot.images is None:
        raise ZeroDivisionError
    held = step.boot.images
    return Step(step.trigger, replace(step.boot, images=replace(held, kernel=held.rootfs)))


async def returns_empty_images(_own: Handler, _ports: Ports, boot: BootContext) -> Any:
    forged: Any = Images(kernel=None, initramfs=None, rootfs=None)  # type: ignore[arg-type] # the misbehaviour
    return Step(Trigger.FETCHED, replace(boot, images=forged))


MISBEHAVIOURS: Final = (
    raises,
    raises_a_group,
    raises_a_base_exception,
    exits,
    cancels_itself,
    cancels_its_task,
    hangs,
    ignores_the_first_cancellation,
    returns_after_its_budget,
    returns_none,
    returns_another_type,
    returns_an_undeclared_trigger,
    returns_no_boot_context,
    forges_a_manifest,
    forges_images,
    swaps_images,
    returns_empty_images,
)


REPLACED: Final = [handler for handler in OWN_HANDLERS if handler.state is not State.SHELL]


def misbehaving(own: Handler, misbehaviour: Misbehaviour, name: str) -> Run:
    async def run(ports: Ports, boot: BootContext) -> Any:
        return await misbehaviour(own, ports, boot)

    scenario = SCENARIOS[name]()
    budget = own.budget and min(own.budget, 100.0)
    scenario.handlers = replaced(replace(own, run=run, budget=budget))
    return run_scenario(scenario, Plan())


@pytest.mark.parametrize(
    "misbehaviour", MISBEHAVIOURS, ids=[each.__name__ for each in MISBEHAVIOURS]
)
@pytest.mark.parametrize("own", REPLACED, ids=[each.state.value for each in REPLACED])
def test_a_plugin_that_misbehaves_is_contained(own: Handler, misbehaviour: Misbehaviour) -> None:
    name = "no_boot_method" if own.state is State.CHAINLOAD else "internet"
    run = misbehaving(own, misbehaviour, name)
    broken = [verdict for verdict in verdicts(run) if not verdict.holds]
    assert not broken, [*broken, *run.scenario.journal.lines]
    # A plugin for Kexec may jump; the invariants compare the started bytes.
    assert run.end is State.OFF
    assert own.state is State.KEXEC or not run.scenario.kexec.jumped


@pytest.mark.parametrize(
    "misbehaviour", MISBEHAVIOURS, ids=[each.__name__ for each in MISBEHAVIOURS]
)
def test_a_shell_that_misbehaves_ends_the_run_and_reports_its_failure(
    misbehaviour: Misbehaviour,
) -> None:
    shell = next(handler for handler in OWN_HANDLERS if handler.state is State.SHELL)
    run = misbehaving(replace(shell, budget=100.0), misbehaviour, "no_boot_method")
    assert run.end is State.OFF
    assert run.boot is not None
    late = misbehaviour in {forges_images, swaps_images}
    assert (run.boot.failure is not None) or late
    assert run.descriptors == set()
    assert run.tasks == []


def test_a_keyboard_interrupt_ends_the_run() -> None:
    async def interrupted(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
        raise KeyboardInterrupt

    own = next(handler for handler in OWN_HANDLERS if handler.state is State.VERIFY)
    with pytest.raises(KeyboardInterrupt):
        misbehaving(own, interrupted, "internet")


def test_a_handler_that_ignores_cancellation_is_abandoned() -> None:
    async def stubborn(_own: Handler, _ports: Ports, _boot: BootContext) -> Any:
        while (left := 1e5 - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue

    own = next(handler for handler in OWN_HANDLERS if handler.state is State.DISCOVER)
    run = misbehaving(own, stubborn, "private")
    assert run.end is State.OFF
    assert [event["cause"] for event in run.scenario.of("transition")][2] == "OutOfTime"
    assert run.tasks
