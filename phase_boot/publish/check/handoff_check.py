"""Checks of a release with the rules of the handoff: faults, which are refused, and warnings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from phase_boot.handoff.cmdline import BadCommandLine, for_target, overridden, parse
from phase_boot.handoff.initrd import TAIL, obstacle_behind, obstacle_to_appending
from phase_boot.trust.manifest import Manifest
from policies.model import Mode


def fault_in_cmdline(signed: str) -> str | None:
    """Return why ``signed`` is not a publishable command line, or None."""
    if parse(signed).open_quote:
        return (
            'The command line has an unclosed `"`, so its last parameter extends to the end: '
            "close it."
        )
    return None


def fault_in_initramfs(path: Path) -> str | None:
    """Return why nothing can be appended to the initramfs in the file ``path``, or None.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        obstacle = obstacle_behind(file.read(TAIL))
    return None if obstacle is None else f"No machine can boot this: {obstacle}."


def handoff_fault(manifest: Manifest) -> str | None:
    """Return why no machine can hand ``manifest`` over to its kernel as signed, or None."""
    fault = fault_in_cmdline(manifest.cmdline)
    if fault is not None:
        return fault
    try:
        _made(manifest, Mode.INTERNET)
    except BadCommandLine as bad:
        return f"No machine can boot this: {bad}."
    obstacle = obstacle_to_appending(manifest.artifacts, rootfs_on_cache=True)
    return None if obstacle is None else f"No machine can boot this: {obstacle}."


def handoff_warnings(manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each part that some machines refuse or boot differently."""
    for word in overridden(parse(manifest.cmdline), private=False):
        yield f"{word} is left out of the command line, because the handoff sets it itself."
    try:
        _made(manifest, Mode.PRIVATE)
    except BadCommandLine as bad:
        yield f"No machine in Private mode can boot this: {bad}."
    if obstacle_to_appending(manifest.artifacts, rootfs_on_cache=True) is None:
        obstacle = obstacle_to_appending(manifest.artifacts, rootfs_on_cache=False)
        if obstacle is not None:
            yield f"Only machines with the rootfs on Cache can boot this, Private none: {obstacle}."


def _made(manifest: Manifest, mode: Mode) -> str:
    return for_target(
        manifest.cmdline,
        mode=mode,
        version=str(manifest.version),
        rootfs=str(manifest.artifacts["rootfs"].digest),
    )
