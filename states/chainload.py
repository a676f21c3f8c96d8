"""Chainload: stages the verified image on the stick, for one start by the firmware's loader.

It is the fallback where the running kernel refuses kexec. The artifacts are hashed again before
they are written, because Cache may have changed meanwhile.
"""

from __future__ import annotations

import asyncio

from phase_boot.handoff.cmdline import BadCommandLine
from phase_boot.handoff.kernel import HEAD, UnknownKernel, inspect
from phase_boot.journal.handoff_events import LoaderStaged
from phase_boot.machine.boot import BootContext, Images, require
from phase_boot.machine.errors import CannotChainload, NotConfigured
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.handover import cmdline_of, initrd_of
from phase_boot.machine.preflight import chainload_obstacle, is_whole, staging_support
from phase_boot.ports.loader import BootPayload
from phase_boot.store.content_store import VerifiedFile
from phase_boot.store.errors import StoreError


async def chainload(ports: Ports, boot: BootContext) -> Step:
    """Leads to: firmware (staged), shell (give_up)."""
    why = boot.failure.sentence if boot.failure else "kexec failed"
    images = require(boot.images, "the images")
    try:
        images = await _reopen_images(boot, images)
        payload = await _boot_payload(ports, boot, images)
        entry = await ports.loader.stage(payload)
    except (CannotChainload, StoreError, UnknownKernel, BadCommandLine) as failure:
        raise CannotChainload(f"{why}; and {failure}") from failure
    finally:
        images.close()
    await ports.store_opener.release()
    size = payload.image.artifact.size + (payload.initrd.size if payload.initrd else 0)
    ports.emit(LoaderStaged(version=payload.version, entry=entry, size=size))
    ports.journal.flush()
    await ports.loader.restart()
    return Step(Trigger.STAGED, boot)


async def _reopen_images(boot: BootContext, images: Images) -> Images:
    """Return the images; closed ones are reopened from the store, which hashes them again."""
    if not images.kernel.closed:
        return images
    cas = require(boot.store, "a store").cas
    opened: dict[str, VerifiedFile] = {}
    try:
        for name in ("kernel", "initramfs", "rootfs", *(("uki",) if images.uki else ())):
            artifact = require(boot.manifest, "a manifest").manifest.artifacts[name]
            opened[name] = await asyncio.to_thread(cas.open, artifact)
    except BaseException:
        for image in opened.values():
            image.close()
        raise
    return Images(**opened)


async def _boot_payload(ports: Ports, boot: BootContext, images: Images) -> BootPayload:
    """Return the image for the firmware: under Secure Boot one that is signed for it.

    Raises:
        CannotChainload: the firmware can start none of the artifacts.
    """
    support = await staging_support(ports, boot)
    kernel = boot.kernel or inspect(images.kernel.read(HEAD))
    obstacle = chainload_obstacle(kernel, support, has_uki=images.uki is not None)
    if obstacle:
        raise CannotChainload(obstacle)
    image = images.kernel
    if support.secure_boot and images.uki is not None:
        image = images.uki
        kernel = inspect(image.read(HEAD))
        if not is_whole(kernel) or kernel.arch is not require(boot.facts, "the facts").arch:
            raise CannotChainload(f"the published uki is {kernel}, so the firmware cannot use it")
    return BootPayload(
        image=image,
        kernel=kernel,
        initrd=None if is_whole(kernel) else initrd_of(ports, boot, images),
        cmdline=cmdline_of(boot),
        version=str(require(boot.manifest, "a manifest").manifest.version),
    )


HANDLER = Handler(
    state=State.CHAINLOAD,
    run=chainload,
    leads=frozenset({Trigger.STAGED}),
    raises=(NotConfigured, CannotChainload),
    budget=600,
)
