"""Rules of the tree that no linter checks (docs/adr/0001-rooms.md)."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("phase_boot", "states", "policies", "loader", "image")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))

IMPORTERS = {
    "aiohttp": {"phase_boot/adapters/http/client.py"},
    "ifaddr": {"phase_boot/adapters/net/address_watch.py", "phase_boot/provider/interfaces.py"},
    # rsa_keys stands in for a module of the library, so it has a base class of it.
    "libp2p": {"phase_boot/libp2p_node/host.py", "phase_boot/libp2p_node/rsa_keys.py"},
    # The bench measures what we add to libsodium, and has to call it bare for that.
    "nacl": {
        "phase_boot/trust/keys.py",
        "phase_boot/trust/passphrase_box.py",
        "image/bench/trust.py",
    },
    "numpy": {"phase_boot/content/chunker.py"},
    "prompt_toolkit": {"phase_boot/adapters/terminal/line_editor.py"},
    "rfc8785": {"phase_boot/trust/strict_json.py"},
    "structlog": {"phase_boot/journal/journal.py"},
    "tomlkit": {"policies/write.py"},
    "transitions": {"phase_boot/machine/guard.py"},
    "trio": {
        "phase_boot/libp2p_node/bitswap_exchange.py",
        "phase_boot/libp2p_node/__main__.py",
        "phase_boot/libp2p_node/dialling.py",
        "phase_boot/libp2p_node/host.py",
        "phase_boot/libp2p_node/lookup.py",
        "phase_boot/libp2p_node/program.py",
    },
    # The bench measures what we add to the runtime, and has to call it bare for that.
    "wasmtime": {"phase_boot/plasma/engine.py", "image/bench/plasma.py"},
    "zeroconf": {"phase_boot/adapters/finders/mdns_message.py", "phase_boot/provider/announce.py"},
}
SERVER = "phase_boot/provider/"
"""The provider's whole folder is aiohttp's server side."""


@cache
def parsed(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


@cache
def imported(path: Path) -> frozenset[str]:
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in parsed(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("library", sorted(IMPORTERS))
def test_a_library_is_imported_in_its_own_module_only(library: str) -> None:
    found = {str(p.relative_to(ROOT)) for p in SOURCES if library in imported(p)}
    if library == "aiohttp":
        found = {path for path in found if not path.startswith(SERVER)}
    assert found == IMPORTERS[library]


@pytest.mark.parametrize("library", ["prompt_toolkit", "tomlkit", "wasmtime"])
def test_a_library_that_takes_long_is_not_imported_before_it_is_needed(library: str) -> None:
    program = f"import phase_boot.app.daemon, sys; sys.exit({library!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(p): n for p in SOURCES if (n := p.read_text().count("\n")) > 400}
    assert long == {}


def test_no_function_is_longer_than_60_lines() -> None:
    functions = [
        (path, node)
        for path in SOURCES
        for node in parsed(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = {f"{p}:{n.name}": (n.end_lineno or 0) - n.lineno + 1 for p, n in functions}
    assert {name: size for name, size in sizes.items() if size > 60} == {}


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "misc"])
def test_no_module_is_named_after_odds_and_ends(name: str) -> None:
    assert [path for path in SOURCES if name in {path.stem, path.parent.name}] == []


VIOLATIONS = {
    ("states/verify.py", "aiohttp"): "states touch the world only through ports",
    ("phase_boot/trust/verify.py", "os"): "the graph and trust perform nothing",
    ("phase_boot/machine/driver.py", "states.init"): "the core never imports a state",
    ("phase_boot/ports/clock.py", "phase_boot.machine.driver"): (
        "rooms, from the commands down to the codecs"
    ),
    ("image/gpt.py", "states.verify"): "the builder never runs the machine",
    ("image/kconfig.py", "image.lab.qmp"): "the builder never imports the lab",
    ("image/lab/qmp.py", "image.bench.results"): "nothing imports a bench",
    ("loader/entries.py", "image.errors"): "nothing that is installed imports the builder",
}
"""Imports that a contract forbids, by file and imported module; no two break it in one line."""


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what lint-imports prints of a copy of the tree with every violation in it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "root")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tree)
    for file, module in VIOLATIONS:
        planted = tree / file
        planted.write_text(f"{planted.read_text()}\nimport {module}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("violation", "contract"), VIOLATIONS.items())
def test_an_import_between_the_wrong_rooms_is_found(
    violation: tuple[str, str], contract: str, linted: str
) -> None:
    file, module = violation
    assert f"{contract} BROKEN" in linted
    importer = file.removesuffix(".py").replace("/", ".")
    report = linted.partition(f"\n{contract}\n")[2]
    assert f"{importer} -> {module}" in report, linted


def test_no_test_imports_another_test() -> None:
    """Shared helpers are in tests/support; tests/e2e has modules of its own.

    ruff forbids relative imports.
    """
    found = {
        (str(path.relative_to(ROOT)), module)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for module in imported_modules(path)
        if module.startswith("tests.") and is_test(module, path)
    }
    assert found == set()


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_test(module: str, importer: Path) -> bool:
    suite, *rest = module.split(".")[1:]
    if any(part.startswith("test_") or part == "conftest" for part in [suite, *rest]):
        return True
    own = suite == "e2e" and importer.parent.name == "e2e"
    return suite in {"unit", "attacks", "faults", "interop", "e2e"} and not own
