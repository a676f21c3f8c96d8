"""What is the example target's own in its root."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from image import recipe as names
from image.recipe import TARGET_FILES
from image.steps import roots, tree
from image.tools import epoch

LINKS: Final = {"etc/systemd/system/default.target": "/usr/lib/systemd/system/phase-target.target"}


def root(packages: Path, modules: Path, recipe: names.Recipe, out: Path) -> None:
    """Create the target's root at ``out`` from Debian's ``packages`` and the kernel's modules."""
    roots.assemble(packages, [TARGET_FILES], [(modules, "")], recipe.platform, out)
    system = roots.os_release("Phase Boot Example", names.version(), recipe.platform)
    tree.write(out / "etc/os-release", system)
    roots.finish(out, [], LINKS, epoch())
