"""Python for a root: the locked wheels, our own packages, and bytecode for all of it.

Bytecode is the same on both architectures, but not from one Python to the next: it is made by
Debian 13's own interpreter for the building machine, run through its own dynamic loader.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from image.platforms import native
from image.tools import Tool, run, run_command

PACKAGES: Final = ("phase_boot", "states", "policies", "loader")
SITE: Final = "usr/lib/phase-boot"
"""Our site directory in a root, relative to it."""
UNUSED: Final = (
    "**/tests",
    "**/test",
    "**/*.pyi",
    "**/py.typed",
    "**/*.c",
    "**/*.h",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.pxi",
    "**/_cffi_include*",
    "bin",
    "cffi/recompiler.py",
    "pycparser",
    "pycparser-*.dist-info",
    "aiohttp/.hash",
    "prompt_toolkit/contrib",
    "transitions/extensions/diagrams*.py",
    "wcwidth/_wcwidth_c*",
)
"""Patterns below the site directory of what no import of ours ever reads."""
TAG: Final = "cpython-313"
"""What Python puts into the names of its bytecode."""
KEPT_METADATA: Final = ("METADATA", "entry_points.txt")


def install_wheels(platform: str, interpreter: Path, choice: Sequence[str], out: Path) -> None:
    """Install the locked wheels for ``platform`` (uv's name) into ``out``, by hash.

    ``choice`` are the options of `uv export` that say which of them.
    """
    requirements = out.with_name(out.name + ".txt")
    run(
        Tool.UV,
        *("export", "--frozen", "--no-dev", "--no-emit-project", "--quiet"),
        *choice,
        *("--output-file", requirements),
    )
    run(
        Tool.UV,
        *("pip", "install", "--quiet", "--target", out, "--python-platform", platform),
        *("--python-version", "3.13", "--only-binary", ":all:", "--require-hashes"),
        *("--requirement", requirements),
    )
    requirements.unlink()
    trim(out)
    for library in sorted(out.rglob("*.so")):
        run(Tool.STRIP, "--strip-unneeded", library)
    compile_bytecode(interpreter, out, f"/{SITE}")


def trim(site: Path) -> None:
    """Remove from ``site`` what is never imported, and all but the head of the metadata."""
    for pattern in UNUSED:
        for path in sorted(site.glob(pattern)):
            remove(path)
    for folder in sorted(site.glob("*.dist-info")):
        for path in sorted(folder.iterdir()):
            if path.name not in KEPT_METADATA:
                remove(path)
        metadata = folder / "METADATA"
        metadata.write_text(metadata_head(metadata.read_text(encoding="utf-8")), encoding="utf-8")


def metadata_head(metadata: str) -> str:
    """Return the name and the version from a METADATA file, which is all that is ever asked."""
    head, _, _ = metadata.partition("\n\n")
    lines = re.findall(r"^(?:Metadata-Version|Name|Version): .*$", head, re.MULTILINE)
    return "\n".join(lines) + "\n"


def install_project(root: Path, interpreter: Path, out: Path) -> None:
    """Copy our packages from the repository ``root`` to ``out``, with the entry points."""
    out.mkdir()
    for name in PACKAGES:
        shutil.copytree(
            root / name, out / name, ignore=shutil.ignore_patterns("__pycache__", "py.typed")
        )
    with (root / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    folder = out / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (folder / "METADATA").write_text(head, encoding="utf-8")
    (folder / "entry_points.txt").write_text(entry_points(project), encoding="utf-8")
    compile_bytecode(interpreter, out, f"/{SITE}")


def entry_points(project: dict[str, dict[str, dict[str, str]]]) -> str:
    """Return entry_points.txt for the `project` table of pyproject.toml."""
    groups = project.get("entry-points", {})
    sections = (
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in sorted(points.items()))])
        for group, points in sorted(groups.items())
    )
    return "\n\n".join(sections) + "\n"


def compile_bytecode(interpreter: Path, folder: Path, where: str) -> None:
    """Byte-compile ``folder``, whose place in the root is the absolute path ``where``.

    Args:
        interpreter: a root with Debian 13's Python for this machine.
        folder: compiled in place.
        where: goes into tracebacks.
    """
    platform = native()
    libraries = interpreter / "usr/lib" / platform.triplet
    run_command(
        [
            str(interpreter / platform.interpreter),
            *("--library-path", str(libraries)),
            str(interpreter / "usr/bin/python3.13"),
            *("-I", "-S", "-m", "compileall", "-q", "-f"),
            *("--invalidation-mode", "unchecked-hash"),
            *("-s", str(folder), "-p", where),
            str(folder),
        ],
        env={"PYTHONHOME": str(interpreter / "usr"), "PYTHONHASHSEED": "0"},
    )


def remove_sources(folder: Path) -> None:
    """Leave of every module below ``folder`` its bytecode, where the import looks for it then."""
    for compiled in sorted(folder.rglob(f"__pycache__/*.{TAG}.pyc")):
        module = compiled.name.removesuffix(f".{TAG}.pyc")
        beside = compiled.parent.parent
        (beside / f"{module}.py").unlink()
        compiled.rename(beside / f"{module}.pyc")
    for emptied in sorted(folder.rglob("__pycache__")):
        emptied.rmdir()


def launcher(function: str) -> str:
    """Return the script that starts ``function`` of our command line in the fewest steps."""
    lines = [
        "#!/usr/bin/python3 -IS",
        "import sys",
        f'sys.path.append("/{SITE}")',
        f"from phase_boot.cli.main import {function}",
        f"sys.exit({function}())",
    ]
    return "\n".join(lines) + "\n"


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
