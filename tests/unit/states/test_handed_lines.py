"""Versions that a machine of this mode could not hand over as they are: refused before a fetch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_mirrors import good_site
from phase_boot.drill.fakes import FakeCache, policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS
from phase_boot.drill.scenario import Scenario, replaced, scene
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.graph import State
from phase_boot.machine.handler import Ports, Step
from states.fetch import HANDLER as FETCH
from tests.support.linux_parameters import parse_args, switched_on

SIZES = {"kernel": len(KERNEL), "initramfs": len(INITRAMFS), "rootfs": len(ROOTFS)}
GIB = 1024**3


def in_private(play: Scenario) -> Scenario:
    play.platform.table = policy_table(mode="private", cache_enabled=False)
    return play


@pytest.mark.parametrize("word", ["crashkernel=96M", "mem=384M", "hugepagesz=1G"])
def test_private_refuses_a_version_that_keeps_memory_from_being_wiped(word: str) -> None:
    play = in_private(scene(peer=good_site(cmdline=f"quiet {word}")))
    assert play.play() is State.OFF
    assert not play.kexec.jumped
    assert f"`{word}`, which keeps memory from being wiped" in play.cause
    assert "another mode than Private" in play.cause
    assert not play.of("fetch.started")
    assert not play.of("crashed")


def test_private_boots_the_next_candidate_after_one_that_would_keep_memory() -> None:
    bad, good = good_site(cmdline="mem=384M"), good_site(cmdline="quiet -- quiet")
    play = in_private(scene(bad=bad, good=good))
    assert play.play() is State.TARGET
    parameters = list(parse_args(play.kexec.cmdline or ""))
    assert switched_on(parameters, "init_on_free")
    assert ("phase.mode", "private") in parameters


def test_other_modes_boot_a_version_that_keeps_memory_for_itself() -> None:
    play = scene(peer=good_site(cmdline='crashkernel=96M x="'))
    assert play.play() is State.TARGET
    assert ("phase.mode", "internet") in parse_args(play.kexec.cmdline or "")
    assert ("crashkernel", "96M") in parse_args(play.kexec.cmdline or "")


def test_a_rootfs_that_no_initramfs_can_hold_is_refused_before_it_is_fetched() -> None:
    play = scene(peer=good_site(sizes=SIZES | {"rootfs": 4 * GIB}))
    play.cache = FakeCache(cache=None)
    play.platform.memory = 1024 * GIB
    assert play.play() is State.OFF
    assert "its rootfs of 4.0 GiB does not fit into an initrd" in play.cause
    assert "a stick with a Cache partition" in play.cause
    assert not play.of("fetch.started")


def test_a_rootfs_that_stays_on_cache_may_be_larger() -> None:
    play = scene(peer=good_site(sizes=SIZES | {"rootfs": 4 * GIB}))
    play.play()
    assert play.of("fetch.started")


def test_a_rootfs_that_does_not_fit_is_refused_when_cache_fails_under_it() -> None:
    play = scene(peer=good_site(sizes=SIZES | {"rootfs": 4 * GIB}))
    play.cache = FakeCache(cache=MemoryDisk(capacity=100))
    play.platform.memory = 1024 * GIB
    assert play.play() is State.OFF
    assert "does not fit into an initrd" in play.cause


def test_an_initramfs_that_nothing_can_be_appended_to_is_refused_before_the_rootfs() -> None:
    raw = b"070701...#BOOTCONFIG\n\0"
    files = {"kernel": KERNEL, "initramfs": raw, "rootfs": ROOTFS}
    site = good_site(
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
    )
    site.files[f"cas/sha256/{Digest.of(raw).hex}"] = raw
    play = scene(peer=site)
    assert play.play() is State.OFF
    assert "its initramfs ends in a boot configuration" in play.cause
    assert "rootfs" not in {event["artifact"] for event in play.of("fetch.started")}


async def fetch_unchecked(ports: Ports, boot: BootContext) -> Step:
    """Stand in for a plugin that does not look at the command line."""
    facts = require(boot.facts, "the facts")
    step = await FETCH.run(ports, replace(boot, facts=replace(facts, mode="internet")))
    return Step(step.trigger, replace(step.boot, facts=facts))


def test_kexec_by_itself_refuses_a_line_that_fetch_let_pass() -> None:
    play = in_private(scene(peer=good_site(cmdline="mem=384M")))
    play.handlers = replaced(replace(FETCH, run=fetch_unchecked))
    assert play.play() is State.OFF
    assert play.walk.states[-4:-1] == (State.KEXEC, State.CHAINLOAD, State.SHELL)
    assert not play.kexec.jumped
    assert "`mem=384M`" in play.cause
    assert not play.of("crashed")
