"""Checks of a release against the handoff: faults, which are refused, and warnings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from phase_boot.handoff.cmdline import BadCommandLine, for_target, overridden, parse
from phase_boot.handoff.initrd import TAIL, obstacle_behind, obstacle_to_appending
from phase_boot.trust.manifest import Manifest
from policies.model import Mode


def fault_in_cmdline(signed: str) -> str | None:
    """Return why ``signed`` is no command line to publish, if so."""
    if parse(signed).open_quote:
        return (
            'The command line holds a `"` that is never closed, so its last word runs to the end: '
            "close it."
        )
    return None


def fault_in_initramfs(path: Path) -> str | None:
    """Return why nothing can be appended to the initramfs in the file ``path``, if so.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        obstacle = obstacle_behind(file.read(TAIL))
    return None if obstacle is None else f"No machine will boot this: {obstacle}."


def handoff_fault(manifest: Manifest) -> str | None:
    """Return why no machine would be handed ``manifest`` as its publisher means it, if so."""
    fault = fault_in_cmdline(manifest.cmdline)
    if fault is not None:
        return fault
    try:
        _made(manifest, Mode.INTERNET)
    except BadCommandLine as bad:
        return f"No machine will boot this: {bad}."
    obstacle = obstacle_to_appending(manifest.artifacts, rootfs_on_cache=True)
    return None if obstacle is None else f"No machine will boot this: {obstacle}."


def handoff_warnings(manifest: Manifest) -> Iterator[str]:
    """Yield, in a sentence each, what only some machines will boot, or boot otherwise."""
    for word in overridden(parse(manifest.cmdline), private=False):
        yield f"{word} is left out of the command line, because the hand-over sets it itself."
    try:
        _made(manifest, Mode.PRIVATE)
    except BadCommandLine as bad:
        yield f"No machine in Private mode will boot this: {bad}."
    if obstacle_to_appending(manifest.artifacts, rootfs_on_cache=True) is None:
        obstacle = obstacle_to_appending(manifest.artifacts, rootfs_on_cache=False)
        if obstacle is not None:
            yield f"Only machines that store it on Cache will boot this, Private none: {obstacle}."


def _made(manifest: Manifest, mode: Mode) -> str:
    return for_target(
        manifest.cmdline,
        mode=mode,
        version=str(manifest.version),
        rootfs=str(manifest.artifacts["rootfs"].digest),
    )
