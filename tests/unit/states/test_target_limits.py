"""Versions that this mode could not start with their limits: refused before the download."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.fakes import FakeCache, policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS
from phase_boot.drill.scenario import Scenario, lan_scenario, replaced
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.graph import State
from phase_boot.machine.handler import Ports, Step
from states.fetch import HANDLER as FETCH
from tests.support.linux_parameters import parse_args, switched_on

SIZES = {"kernel": len(KERNEL), "initramfs": len(INITRAMFS), "rootfs": len(ROOTFS)}
GIB = 1024**3


def in_private(scenario: Scenario) -> Scenario:
    scenario.platform.table = policy_table(mode="private", cache_enabled=False)
    return scenario


@pytest.mark.parametrize("word", ["crashkernel=96M", "mem=384M", "hugepagesz=1G"])
def test_private_refuses_a_version_that_keeps_memory_from_being_wiped(word: str) -> None:
    scenario = in_private(lan_scenario(peer=good_server(cmdline=f"quiet {word}")))
    assert scenario.run() is State.OFF
    assert not scenario.kexec.jumped
    assert f"`{word}`, which keeps memory from being wiped" in scenario.cause
    assert "another mode than Private" in scenario.cause
    assert not scenario.of("fetch.started")
    assert not scenario.of("crashed")


def test_private_boots_the_next_candidate_after_one_that_would_keep_memory() -> None:
    bad, good = good_server(cmdline="mem=384M"), good_server(cmdline="quiet -- quiet")
    scenario = in_private(lan_scenario(bad=bad, good=good))
    assert scenario.run() is State.TARGET
    parameters = list(parse_args(scenario.kexec.cmdline or ""))
    assert switched_on(parameters, "init_on_free")
    assert ("phase.mode", "private") in parameters


def test_other_modes_boot_a_version_that_keeps_memory_for_itself() -> None:
    scenario = lan_scenario(peer=good_server(cmdline='crashkernel=96M x="'))
    assert scenario.run() is State.TARGET
    assert ("phase.mode", "internet") in parse_args(scenario.kexec.cmdline or "")
    assert ("crashkernel", "96M") in parse_args(scenario.kexec.cmdline or "")


def test_a_rootfs_that_no_initramfs_can_hold_is_refused_before_it_is_fetched() -> None:
    scenario = lan_scenario(peer=good_server(sizes=SIZES | {"rootfs": 4 * GIB}))
    scenario.cache = FakeCache(cache=None)
    scenario.platform.memory = 1024 * GIB
    assert scenario.run() is State.OFF
    assert "its rootfs of 4.0 GiB does not fit into an initrd" in scenario.cause
    assert "a stick with a Cache partition" in scenario.cause
    assert not scenario.of("fetch.started")


def test_a_rootfs_that_stays_on_cache_may_be_larger() -> None:
    scenario = lan_scenario(peer=good_server(sizes=SIZES | {"rootfs": 4 * GIB}))
    scenario.run()
    assert scenario.of("fetch.started")


def test_a_rootfs_that_does_not_fit_is_refused_when_cache_fails_under_it() -> None:
    scenario = lan_scenario(peer=good_server(sizes=SIZES | {"rootfs": 4 * GIB}))
    scenario.cache = FakeCache(cache=MemoryDisk(capacity=100))
    scenario.platform.memory = 1024 * GIB
    assert scenario.run() is State.OFF
    assert "does not fit into an initrd" in scenario.cause


def test_an_initramfs_that_nothing_can_be_appended_to_is_refused_before_the_rootfs() -> None:
    raw = b"070701...#BOOTCONFIG\n\0"
    files = {"kernel": KERNEL, "initramfs": raw, "rootfs": ROOTFS}
    server = good_server(
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
    )
    server.files[f"cas/sha256/{Digest.of(raw).hex}"] = raw
    scenario = lan_scenario(peer=server)
    assert scenario.run() is State.OFF
    assert "its initramfs ends in a boot configuration" in scenario.cause
    assert "rootfs" not in {event["artifact"] for event in scenario.of("fetch.started")}


async def fetch_unchecked(ports: Ports, boot: BootContext) -> Step:
    """Stand in for a plugin that does not look at the command line."""
    facts = require(boot.facts, "the facts")
    step = await FETCH.run(ports, replace(boot, facts=replace(facts, mode="internet")))
    return Step(step.trigger, replace(step.boot, facts=facts))


def test_kexec_refuses_a_command_line_that_fetch_accepted() -> None:
    scenario = in_private(lan_scenario(peer=good_server(cmdline="mem=384M")))
    scenario.handlers = replaced(replace(FETCH, run=fetch_unchecked))
    assert scenario.run() is State.OFF
    assert scenario.walk.states[-4:-1] == (State.KEXEC, State.CHAINLOAD, State.SHELL)
    assert not scenario.kexec.jumped
    assert "`mem=384M`" in scenario.cause
    assert not scenario.of("crashed")
