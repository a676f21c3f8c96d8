"""Python for a root: the locked wheels, the project's modules, and bytecode for all of it.

Bytecode is the same on both architectures, but not from one Python to the next: Debian 13's own
interpreter for the building machine makes it, run through its own dynamic loader.

`image.packed_modules` decides which modules a root carries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from image.file_tree import discard
from image.platforms import native
from image.repository import ROOT
from image.tools import Tool, run, run_command
from phase_boot.libp2p_node.unused_modules import UNUSED as UNUSED_LIBP2P

SITE: Final = "usr/lib/phase-boot"
"""The folder of our modules and wheels in a root, relative to it."""
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
    # Wheels of libp2p's packages, which carry more than a package.
    *("docs", "examples", "interop", "newsfragments", "stubs", "*-stubs", "trio/_tests"),
    # Registries of manufacturers and of addresses.
    *("netaddr/eui/*.txt", "netaddr/eui/*.idx", "netaddr/ip/*.xml"),
    *("anyio/pytest_plugin.py", "anyio/_backends/_asyncio.py", "trio/_tools", "trio/testing"),
    *("google/protobuf/*_pb2.py", "google/protobuf/compiler", "google/protobuf/json_format.py"),
    *("google/protobuf/testdata", "google/protobuf/util"),
    *("libp2p/bitswap", "libp2p/filecoin", "libp2p/kad_dht", "libp2p/observability"),
    *("libp2p/perf", "libp2p/records", "libp2p/request_response"),
    *(
        f"{name.replace('.', '/')}{end}"
        for name in UNUSED_LIBP2P
        if name.startswith("libp2p.")
        for end in ("", ".py")
    ),
)
"""Patterns, below the site folder, of files of the wheels that no import reads."""
TAG: Final = "cpython-313"
"""The part of a bytecode file's name that names the interpreter."""
KEPT_METADATA: Final = ("METADATA", "entry_points.txt")


def install_wheels(
    lock: Path, platform: str, interpreter: Path, choice: Sequence[str], out: Path
) -> None:
    """Install the locked wheels for ``platform`` (uv's name) into ``out``, by hash.

    ``choice`` holds the options of `uv export` that select among the wheels.
    """
    requirements = out.with_name(out.name + ".txt")
    run(
        Tool.UV,
        *("export", "--project", lock.parent, "--frozen"),
        *("--no-dev", "--no-emit-project", "--quiet"),
        *choice,
        *("--output-file", requirements),
    )
    run(
        Tool.UV,
        *("pip", "install", "--quiet", "--target", out, "--python-platform", platform),
        *("--python-version", "3.13", "--only-binary", ":all:", "--require-hashes"),
        # The requirements are complete, and lack what was pruned.
        *("--no-deps", "--requirement", requirements),
    )
    requirements.unlink()
    trim(out)
    for library in sorted(out.rglob("*.so")):
        run(Tool.STRIP, "--strip-unneeded", library)
    compile_bytecode(interpreter, out, f"/{SITE}")
    remove_sources(out)


def trim(site: Path) -> None:
    """Remove from ``site`` files that no import reads, and metadata except names and versions."""
    for pattern in UNUSED:
        for path in sorted(site.glob(pattern)):
            discard(path)
    for folder in sorted(site.glob("*.dist-info")):
        for path in sorted(folder.iterdir()):
            if path.name not in KEPT_METADATA:
                discard(path)
        metadata = folder / "METADATA"
        metadata.write_text(metadata_head(metadata.read_text(encoding="utf-8")), encoding="utf-8")


def metadata_head(metadata: str) -> str:
    """Return the name and the version from a METADATA file; nothing reads more of it."""
    head, _, _ = metadata.partition("\n\n")
    lines = re.findall(r"^(?:Metadata-Version|Name|Version): .*$", head, re.MULTILINE)
    return "\n".join(lines) + "\n"


def install_project(
    files: Sequence[Path], project: Mapping[str, Any], interpreter: Path, out: Path
) -> None:
    """Copy modules of the repository to ``out``, with the project's metadata, and compile them.

    Args:
        files: the sources.
        project: name, version and entry points, as `metadata` selects them.
        interpreter: a root with the same Python for this machine.
        out: the folder to create.
    """
    for file in files:
        copy = out / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    folder = out / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (folder / "METADATA").write_text(head, encoding="utf-8")
    (folder / "entry_points.txt").write_text(entry_points(project), encoding="utf-8")
    compile_bytecode(interpreter, out, f"/{SITE}")


def metadata(project: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of pyproject.toml's `project` table that an installed project has."""
    return {name: project[name] for name in ("name", "version", "entry-points")}


def entry_points(project: Mapping[str, Any]) -> str:
    """Return entry_points.txt for the `project` table of pyproject.toml."""
    groups: Mapping[str, Mapping[str, str]] = project.get("entry-points", {})
    sections = (
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in sorted(points.items()))])
        for group, points in sorted(groups.items())
    )
    return "\n\n".join(sections) + "\n"


def compile_bytecode(interpreter: Path, folder: Path, where: str) -> None:
    """Compile the modules in ``folder``, whose place in the root is the absolute path ``where``.

    Args:
        interpreter: a root with Debian 13's Python for this machine.
        folder: compiled in place.
        where: the path that tracebacks show.
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
    """Replace every module below ``folder`` by its bytecode, at the path where Python looks."""
    for compiled in sorted(folder.rglob(f"__pycache__/*.{TAG}.pyc")):
        module = compiled.name.removesuffix(f".{TAG}.pyc")
        beside = compiled.parent.parent
        (beside / f"{module}.py").unlink()
        compiled.rename(beside / f"{module}.pyc")
    for emptied in sorted(folder.rglob("__pycache__")):
        emptied.rmdir()


def launcher(function: str) -> str:
    """Return a script that starts ``function`` of the command line with the fewest imports."""
    lines = [
        "#!/usr/bin/python3 -IS",
        "import sys",
        f'sys.path.append("/{SITE}")',
        f"from phase_boot.cli.main import {function}",
        f"sys.exit({function}())",
    ]
    return "\n".join(lines) + "\n"
