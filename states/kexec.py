"""Kexec: loads the verified images into the running kernel by one system call, and jumps.

Each entry of the state tries one system call. The images stay open while another method is left.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from phase_boot.handoff.cmdline import BadCommandLine
from phase_boot.handoff.kernel import HEAD, inspect
from phase_boot.handoff.memory import required_to_start
from phase_boot.journal.content_events import StateNotKept
from phase_boot.journal.handoff_events import KexecFailed, KexecJump, KexecLoaded
from phase_boot.machine import promises
from phase_boot.machine.boot import BootContext, Images, require
from phase_boot.machine.boot_methods import BootMethods
from phase_boot.machine.errors import (
    KexecRefused,
    NotConfigured,
    NotEnoughMemory,
    NotLocal,
    NotPrivate,
)
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.handover import cmdline_of, initrd_of
from phase_boot.machine.kexec_denylist import remember_failure
from phase_boot.ports.kexec import LoadRefused
from phase_boot.ports.storage import OpenStore
from phase_boot.store.errors import StoreError
from phase_boot.trust.manifest import Manifest

MIB = 1024 * 1024


async def kexec(ports: Ports, boot: BootContext) -> Step:
    """Leads to: target (jumped), kexec (other_call), chainload (not_loaded), shell (give_up)."""
    images = require(boot.images, "the images")
    try:
        return await _try_method(ports, boot, images)
    except KexecRefused:
        raise
    except BaseException:
        images.close()
        raise


async def _try_method(ports: Ports, boot: BootContext, images: Images) -> Step:
    methods = await _boot_methods(ports, boot)
    manifest = require(boot.manifest, "a manifest").manifest
    if not methods.remaining:
        raise KexecRefused(f"kexec is not tried: {methods}")
    _check_memory(ports, manifest, require(boot.store, "a store"))
    method = methods.remaining[0]
    try:
        cmdline = cmdline_of(boot)
    except BadCommandLine as bad:
        raise KexecRefused(f"this version cannot be started: {bad}") from bad
    kernel = boot.kernel or inspect(images.kernel.read(HEAD))
    await promises.check(ports, boot)
    initrd = initrd_of(ports, boot, images)
    try:
        await ports.kexec.load(images.kernel, kernel, initrd, cmdline, method)
    except LoadRefused as refusal:
        ports.emit(KexecFailed(method=method, errno=refusal.errno, reason=str(refusal)))
        methods = methods.after(refusal)
        if methods.remaining:
            return Step(Trigger.OTHER_CALL, replace(boot, boot_methods=methods))
        if methods.lasting:
            await _record_failure(ports, boot)
        raise KexecRefused(f"the running kernel would not load the new one: {methods}") from refusal
    ports.emit(KexecLoaded(method=method, cmdline=cmdline))
    # A filesystem with an open file cannot be unmounted. The kernel has copies of the images.
    images.close()
    await ports.store_opener.release()
    # What talks to strangers ends before the jump.
    await ports.dht.stop()
    version = str(manifest.version)
    # A negative number would make the journal invalid for `replay`.
    peak = max(0, ports.platform.rss_peak())
    ports.emit(KexecJump(version=version, rss_peak=peak))
    ports.journal.flush()
    try:
        await ports.kexec.jump()
    except KexecRefused:
        await _record_failure(ports, boot, await _reopen_store(ports, boot))
        raise
    return Step(Trigger.JUMPED, boot)


async def _boot_methods(ports: Ports, boot: BootContext) -> BootMethods:
    """Return the methods that Fetch determined, or determine them where a plugin did not."""
    if boot.boot_methods is not None:
        return boot.boot_methods
    support = await ports.kexec.support()
    return BootMethods(remaining=support.methods, reasons=support.forbidden)


async def _reopen_store(ports: Ports, boot: BootContext) -> OpenStore:
    """Reopen the store, which was released for the jump."""
    policy = require(boot.policy, "a policy")
    return await ports.store_opener.open(
        persistent=require(boot.store, "a store").persistent, bound=policy.limits.cache_mib * MIB
    )


async def _record_failure(ports: Ports, boot: BootContext, store: OpenStore | None = None) -> None:
    """Record on Cache that kexec fails on this model of machine; without Cache do nothing."""
    store = store or require(boot.store, "a store")
    if not store.persistent:
        return
    try:
        facts = require(boot.facts, "the machine's facts")
        await asyncio.to_thread(remember_failure, store.state_files, facts)
    except StoreError as failure:
        ports.emit(StateNotKept(reason=str(failure)))


def _check_memory(ports: Ports, manifest: Manifest, store: OpenStore) -> None:
    needed = required_to_start(manifest.artifacts, rootfs_on_cache=store.persistent)
    free = ports.platform.memory_available()
    if needed > free:
        raise NotEnoughMemory(
            f"starting this image takes {needed >> 20} MiB of memory and {free >> 20} MiB are "
            "free; use a machine with more memory, or a stick with a Cache partition"
        )


HANDLER = Handler(
    state=State.KEXEC,
    run=kexec,
    leads=frozenset({Trigger.JUMPED, Trigger.OTHER_CALL}),
    raises=(NotConfigured, NotEnoughMemory, NotPrivate, NotLocal, KexecRefused),
    budget=300,
)
