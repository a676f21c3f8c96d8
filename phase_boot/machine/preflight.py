"""Checks whether this machine can start an image, before its larger artifacts are downloaded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from phase_boot.content.arch import Arch
from phase_boot.handoff.artifact_check import NotBootable, initramfs_of, kernel_for
from phase_boot.handoff.cmdline import BadCommandLine
from phase_boot.handoff.initrd import TAIL, obstacle_behind, obstacle_to_appending
from phase_boot.handoff.kernel import HEAD, Format, Kernel
from phase_boot.journal.handoff_events import KernelInspected
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.boot_methods import BootMethods
from phase_boot.machine.errors import NoWayToStart
from phase_boot.machine.handler import Ports
from phase_boot.machine.handover import cmdline_of
from phase_boot.machine.kexec_denylist import kexec_failed_before
from phase_boot.ports.loader import StagingSupport
from phase_boot.store.content_store import VerifiedFile
from policies.model import Mode

UKI = "uki"
"""Name of the optional artifact that the firmware starts under Secure Boot."""


class Unstartable(Exception):
    """This machine cannot start this image, but may start others; the text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSupport:
    """The boot methods of this machine: kexec's system calls, and the firmware's loader."""

    arch: Arch
    boot_methods: BootMethods
    loader: StagingSupport


async def determine_support(ports: Ports, boot: BootContext) -> BootSupport:
    """Determine which boot methods this machine has.

    Raises:
        NoWayToStart: it has none, for any image.
    """
    facts = require(boot.facts, "the machine's facts")
    support, loader = await ports.kexec.support(), await staging_support(ports, boot)
    methods = BootMethods(remaining=support.methods, reasons=support.forbidden)
    if not support.methods and loader.obstacle:
        reasons = "; ".join([*support.forbidden, loader.obstacle])
        raise NoWayToStart(
            f"nothing can be started on this machine ({reasons}); restart with one of these changed"
        )
    if support.methods and not loader.obstacle:
        state_files = require(boot.store, "a store").state_files
        if await asyncio.to_thread(kexec_failed_before, state_files, facts):
            methods = methods.without_kexec("kexec failed on this model of machine before")
    return BootSupport(arch=facts.arch, boot_methods=methods, loader=loader)


async def staging_support(ports: Ports, boot: BootContext) -> StagingSupport:
    """Return the support of the firmware's loader; none in Private, which writes to no stick."""
    if require(boot.policy, "a policy").mode is Mode.PRIVATE:
        return StagingSupport(
            obstacle="Private mode writes nothing to the stick for the firmware to start; choose "
            "another mode in the boot menu"
        )
    return await ports.loader.staging_support()


def check_handover(boot: BootContext, *, rootfs_on_cache: bool) -> None:
    """Check the parts of the hand-over that depend on the manifest alone, before the download.

    Raises:
        Unstartable: the command line is not usable in this mode, or the rootfs would have to be
            appended to the initramfs and is too large for that.
    """
    try:
        cmdline_of(boot)
    except BadCommandLine as bad:
        raise Unstartable(str(bad)) from bad
    artifacts = require(boot.manifest, "a manifest").manifest.artifacts
    obstacle = obstacle_to_appending(artifacts, rootfs_on_cache=rootfs_on_cache)
    if obstacle:
        raise Unstartable(obstacle)


def check_initramfs(image: VerifiedFile) -> None:
    """Check that a kernel unpacks an initramfs, and also the part that will be appended to it.

    Raises:
        Unstartable: a kernel does not.
    """
    at = max(0, image.artifact.size - TAIL)
    if obstacle := obstacle_behind(image.read(TAIL, at)):
        raise Unstartable(obstacle)
    try:
        initramfs_of(image.read, image.artifact.size)
    except NotBootable as unsuitable:
        raise Unstartable(str(unsuitable)) from unsuitable


def check_kernel(
    ports: Ports, support: BootSupport, image: VerifiedFile, *, has_uki: bool
) -> tuple[Kernel, BootMethods]:
    """Return the format of the kernel, and the boot methods that can start it.

    Raises:
        Unstartable: it is no kernel, is for another architecture, or no method can start it.
    """
    try:
        kernel = kernel_for(image.read(HEAD), support.arch)
    except NotBootable as unsuitable:
        raise Unstartable(str(unsuitable)) from unsuitable
    methods = support.boot_methods
    if not kernel.by_kexec:
        methods = methods.without_kexec(f"the firmware alone can start {kernel}")
    obstacle = (
        None if methods.remaining else chainload_obstacle(kernel, support.loader, has_uki=has_uki)
    )
    ports.emit(
        KernelInspected(
            format=kernel.format,
            arch=kernel.arch,
            packing=kernel.packing,
            version=kernel.version,
            first="chainload" if not methods.remaining else str(methods.remaining[0]),
            reason=str(methods) or None,
        )
    )
    if obstacle:
        raise Unstartable(f"{methods}; {obstacle}")
    return kernel, methods


def uki_is_wanted(support: BootSupport, kernel: Kernel, methods: BootMethods) -> bool:
    """Return whether the firmware's loader may need the signed image; else it is not downloaded."""
    if support.loader.obstacle or not support.loader.secure_boot:
        return False
    return not methods.remaining or not kernel.signed


def chainload_obstacle(kernel: Kernel, loader: StagingSupport, *, has_uki: bool) -> str | None:
    """Return why the firmware's loader cannot start this kernel, or None if it can."""
    if loader.obstacle:
        return loader.obstacle
    if loader.secure_boot:
        return (
            None
            if has_uki
            else "under Secure Boot the firmware starts signed images only, and none was published"
        )
    if not kernel.by_firmware:
        return f"the firmware cannot start {kernel}"
    return None


def is_whole(kernel: Kernel) -> bool:
    """Return whether the image contains its own initramfs and command line."""
    return kernel.format is Format.UKI
