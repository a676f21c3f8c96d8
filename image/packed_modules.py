"""The project's modules that a root carries.

A root carries what its programs can import and nothing else. On a stick that is the daemon, its
network worker and its states: no publisher, no drill with its test keys, no job runner. Code that
is not there cannot be attacked, needs no update, and takes no time to read from a slow stick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.errors import BuildError
from image.import_graph import ImportGraph, is_below
from image.repository import ROOT

COMMAND_LINE: Final = "phase_boot.cli"
"""Names the module of every command, and imports it when the command is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What a root starts, and what it never carries.

    Attributes:
        programs: modules that a unit or a script starts.
        packages: packages whose modules are loaded as entry points: all of them count.
        commands: whether the root carries every command, or the command line's frame alone.
        left_out: packages that a command imports, with that command.
        forbidden: modules and packages that must not be among the packed ones.
        data: patterns, relative to the repository, of files that packed modules read.
    """

    programs: tuple[str, ...]
    packages: tuple[str, ...] = ("states",)
    commands: bool = True
    left_out: tuple[str, ...] = ()
    forbidden: tuple[str, ...]
    data: tuple[str, ...] = ()


SEED: Final = Packing(
    programs=(
        f"{COMMAND_LINE}.main",
        f"{COMMAND_LINE}.boot",
        "phase_boot.app.daemon",
        "phase_boot.libp2p_node.__main__",
        "phase_boot.privsep.worker_main",
    ),
    commands=False,
    forbidden=(
        "image",
        "phase_boot.announce",
        "phase_boot.app.prefetch",
        "phase_boot.app.serving",
        "phase_boot.content.chunker",
        "phase_boot.drill",
        "phase_boot.plasma",
        "phase_boot.publish",
        "policies.write",
        "tests",
    ),
)
"""`phase-boot daemon`, which phase-boot.service and shell.sh call, and `fetch-verify-kexec`."""
TARGET: Final = Packing(
    programs=(f"{COMMAND_LINE}.main",),
    left_out=("phase_boot.drill", "policies.write"),
    forbidden=("image", "phase_boot.drill", "policies.write", "tests"),
    data=("policies/*.toml",),
)
"""`phase-boot plasma boot` and `phase-boot serve`, which units of the example target call."""


class ForbiddenImport(BuildError):
    """A program of a root imports what the root must not carry; the text names the module."""


def packed_modules(packing: Packing, graph: ImportGraph) -> frozenset[str]:
    """Return the modules that the programs of ``packing`` import, directly or not.

    Raises:
        ForbiddenImport: They import a module that ``packing`` forbids.
    """
    roots = [*packing.programs, *graph.modules(packing.packages)]
    tables = () if packing.commands else (f"{COMMAND_LINE}.main",)
    found = graph.closure(roots, boundary=tables, left_out=packing.left_out)
    wrong = sorted(name for name in found if is_below(name, packing.forbidden))
    if wrong:
        raise ForbiddenImport(
            f"{wrong[0]} would be packed, because {' or '.join(packing.programs)} imports it; "
            "remove that import"
        )
    return found


def packed_files(packing: Packing, graph: ImportGraph) -> tuple[Path, ...]:
    """Return the sources of `packed_modules` and their data files, sorted."""
    sources = (graph.file(name) for name in packed_modules(packing, graph))
    data = (file for pattern in packing.data for file in ROOT.glob(pattern))
    return tuple(sorted({*(file for file in sources if file is not None), *data}))
