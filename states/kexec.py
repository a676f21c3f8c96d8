"""Kexec: hand the verified images to the running kernel, and jump."""

from __future__ import annotations

from phase_boot.handoff.document import Network, document, kernel_cmdline
from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.memory import to_start
from phase_boot.machine.boot import Boot, known
from phase_boot.machine.errors import KexecRefused, NotConfigured, NotEnoughMemory
from phase_boot.machine.events import KexecJump, KexecLoaded
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.ports.cache import Shelf
from phase_boot.ports.network import Link
from phase_boot.trust.manifest import Manifest


async def kexec(world: World, boot: Boot) -> Step:
    """Leads to: target (jumped), chainload (not_loaded), shell (give_up)."""
    manifest, images = known(boot.manifest, "a manifest"), known(boot.images, "the images")
    facts, shelf = known(boot.facts, "the machine's facts"), known(boot.shelf, "a store")
    cmdline = kernel_cmdline(mode=facts.mode, manifest=manifest)
    handoff = document(
        mode=facts.mode,
        manifest=manifest,
        network=_network(boot.link) if boot.link else None,
        sources=dict(boot.sources),
        journal=world.record.lines,
    )
    initrd = Initrd(
        initramfs=images.initramfs,
        document=handoff,
        rootfs=None if shelf.persistent else images.rootfs,
    )
    try:
        _fits(world, manifest.manifest, shelf)
        method = await world.kexec.load(images.kernel, initrd, cmdline)
    finally:
        images.close()
    world.emit(KexecLoaded(method=method, cmdline=cmdline))
    await world.cache.release()
    version = str(manifest.manifest.version)
    world.emit(KexecJump(version=version, rss_peak=world.platform.rss_peak()))
    world.record.flush()
    await world.kexec.jump()
    return Step(Trigger.JUMPED, boot)


def _network(link: Link) -> Network:
    return Network(
        interface=link.interface,
        addresses=link.addresses,
        gateways=link.gateways,
        dns=link.dns,
        vlan=str(link.vlan or ""),
    )


def _fits(world: World, manifest: Manifest, shelf: Shelf) -> None:
    needed = to_start(manifest.artifacts, rootfs_on_cache=shelf.persistent)
    free = world.platform.memory_available()
    if needed > free:
        raise NotEnoughMemory(
            f"starting this image takes {needed >> 20} MiB of memory and {free >> 20} MiB are "
            "free; use a machine with more memory, or a stick with a Cache partition"
        )


HANDLER = Handler(
    state=State.KEXEC,
    run=kexec,
    leads=frozenset({Trigger.JUMPED}),
    raises=(NotConfigured, NotEnoughMemory, KexecRefused),
    budget=300,
)
