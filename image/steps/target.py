"""The root of the example target: a small Debian that reports its boot and runs Plasma."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from image import hello
from image.file_tree import write
from image.steps import python, rootfs
from image.steps.rootfs import RootParts
from image.tools import epoch
from phase_boot.content.digest import Digest
from phase_boot.store.layout import entry_path

LINKS: Final = {
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/phase-target.target",
    "usr/bin/python3": "python3.13",
}
JOBS: Final = "usr/lib/plasma.d"
"""The jobs that the target itself brings, and a store with their modules."""
STATE_FOLDER: Final = "var/lib/plasma"
"""Plasma's receipts and key; a folder of Cache is mounted there if there is one."""


def build_root(parts: RootParts, out: Path) -> None:
    """Create the target's root at ``out``, with bytecode in place of Python sources.

    A boot reads the whole of it to hash it, so what nothing runs is left out.
    """
    rootfs.assemble(parts, out)
    for folder in (rootfs.LIBRARY, python.SITE):
        python.remove_sources(out / folder)
    write(out / "usr/bin/phase-boot", python.launcher("main"), executable=True)
    system = rootfs.os_release("Phase Boot Example", parts.version, parts.platform)
    write(out / "etc/os-release", system)
    _install_hello(out / JOBS)
    rootfs.finish(out, [STATE_FOLDER], LINKS, epoch())


def _install_hello(jobs: Path) -> None:
    """Put the first job and its module into the folder ``jobs``."""
    write(jobs / "10-hello.json", (hello.SOURCE / "hello.json").read_text(encoding="ascii"))
    module = hello.hello()
    path = jobs / entry_path(Digest.of(module))
    path.parent.mkdir(parents=True)
    path.write_bytes(module)
