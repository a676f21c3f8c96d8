"""What is the example target's own in its root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from image import hello
from image import recipe as names
from image.recipe import PYTHON_FILES, TARGET_FILES
from image.steps import python, rootfs, tree
from image.tools import epoch
from phase_boot.content.digest import Digest
from phase_boot.store.layout import entry_path

LINKS: Final = {
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/phase-target.target",
    "usr/bin/python3": "python3.13",
}
JOBS: Final = "usr/lib/plasma.d"
"""The jobs of the rootfs, and a store with their modules."""
KEPT: Final = "var/lib/plasma"
"""Where Plasma keeps its receipts and its key; a folder of Cache where there is one."""
CHOICE: Final = (
    *("--extra", "plasma"),
    *("--prune", "prompt-toolkit", "--prune", "structlog", "--prune", "tomlkit"),
    *("--prune", "transitions"),
)
"""Plasma's and the provider's wheels, without those that only a seed or a publisher needs."""


def build_root(
    packages: Path,
    interpreter: Path,
    parts: Sequence[tuple[Path, str]],
    recipe: names.Recipe,
    out: Path,
) -> None:
    """Create the target's root at ``out``.

    Every boot reads the whole of it, to hash it: so there is bytecode, and no sources.

    Args:
        packages: Debian's files.
        interpreter: a root with the same Python for this machine.
        parts: other trees, each with the place it goes to, relative to the root.
        recipe: what to build.
        out: the folder to create.
    """
    rootfs.assemble(packages, [PYTHON_FILES, TARGET_FILES], parts, recipe.platform, out)
    library = "usr/lib/python3.13"
    python.compile_bytecode(interpreter, out / library, f"/{library}")
    for folder in (library, python.SITE):
        python.remove_sources(out / folder)
    tree.write(out / "usr/bin/phase-boot", python.launcher("main"), executable=True)
    system = rootfs.os_release("Phase Boot Example", names.version(), recipe.platform)
    tree.write(out / "etc/os-release", system)
    _bring_hello(out / JOBS)
    rootfs.finish(out, [KEPT], LINKS, epoch())


def _bring_hello(jobs: Path) -> None:
    """Put the first job and its module into the folder ``jobs``."""
    tree.write(jobs / "10-hello.json", (hello.SOURCE / "hello.json").read_text(encoding="ascii"))
    module = hello.hello()
    place = jobs / entry_path(Digest.of(module))
    place.parent.mkdir(parents=True)
    place.write_bytes(module)
