"""The seed carries the modules that its programs can import, and no others of the project."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from image import recipe
from image.import_graph import ImportGraph, is_below
from image.packed_modules import (
    COMMAND_LINE,
    SEED,
    TARGET,
    ForbiddenImport,
    Packing,
    packed_files,
    packed_modules,
)
from image.repository import ROOT
from image.steps import python
from phase_boot.app import edge
from phase_boot.cli.main import COMMANDS, NOT_IN_SEED
from phase_boot.libp2p_node.unused_modules import UNUSED

ISOLATED = """
import importlib, sys
sys.path[:0] = sys.argv[1:3]
for name in sys.argv[3:]:
    importlib.import_module(name)
root = sys.argv[1]
foreign = [m for m in sys.modules.values() if (getattr(m, "__file__", None) or "").startswith(%r)
           and ".venv" not in m.__file__]
assert not foreign, foreign
"""
START = """
import sys
sys.path[:0] = sys.argv[1:3]
from phase_boot.cli.main import main
sys.exit(main(sys.argv[3:]))
"""
WITHOUT_PRUNED = """
import importlib, sys
sys.path[:0] = sys.argv[1:3]
tree, libraries, pruned, *names = sys.argv[1:]
for each in pruned.split():
    sys.modules[each] = None
for name in names:
    importlib.import_module(name)
"""
POLICIES = """
import sys
sys.path[:0] = sys.argv[1:3]
from phase_boot.plasma.module_source import policy_of
from policies.model import Mode
for mode in Mode:
    print(policy_of(mode, [sys.argv[3]]).network.reach)
"""


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return ImportGraph(ROOT)


def install(packing: Packing, graph: ImportGraph, out: Path) -> Path:
    """Run the step that copies the project's modules, but for the bytecode."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python, "compile_bytecode", lambda *_: None)
        project = python.metadata(recipe.project())
        python.install_project(packed_files(packing, graph), project, Path("unused"), out)
    return out


def start(code: str, tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with the modules in ``tree`` and the installed libraries, and no others."""
    command = [sys.executable, "-I", "-S", "-B", "-W", "ignore", "-c", code, str(tree)]
    libraries = sysconfig.get_path("purelib")
    return subprocess.run(
        [*command, libraries, *words], check=False, capture_output=True, text=True, cwd=tree
    )


def test_the_seed_has_no_publisher_no_drill_and_no_job_runner(
    graph: ImportGraph, tmp_path: Path
) -> None:
    tree = install(SEED, graph, tmp_path / "seed")
    packed = {".".join(p.relative_to(tree).with_suffix("").parts) for p in tree.rglob("*.py")}
    forbidden = (
        "announce",
        "drill",
        "publish",
        "plasma",
        "content.chunker",
        "app.prefetch",
        "app.serving",
    )
    ours = (*forbidden, "cli.completion")
    names = (*(f"phase_boot.{each}" for each in ours), "image", "tests", "policies.write")
    assert not [name for name in packed if name.startswith(names)]
    assert {"phase_boot.app.daemon", "phase_boot.privsep.worker_main", "states.verify"} <= packed


def test_every_module_of_the_seed_imports_with_nothing_else_of_the_project(
    graph: ImportGraph, tmp_path: Path
) -> None:
    tree = install(SEED, graph, tmp_path / "seed")
    done = start(ISOLATED % str(ROOT), tree, *sorted(packed_modules(SEED, graph)))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("packing", "options", "rooms"),
    [
        (SEED, recipe.SEED_WHEELS, ("phase_boot", "states", "policies", "loader")),
        (TARGET, recipe.TARGET_WHEELS, ("phase_boot.plasma", "phase_boot.provider")),
    ],
    ids=["seed", "target"],
)
def test_no_program_of_a_root_imports_a_library_that_its_root_lacks(
    graph: ImportGraph,
    tmp_path: Path,
    packing: Packing,
    options: Sequence[str],
    rooms: tuple[str, ...],
) -> None:
    tree = install(packing, graph, tmp_path / "root")
    other = ("phase_boot.libp2p_node",)
    packed = (name for name in packed_modules(packing, graph) if not is_below(name, other))
    names = sorted(name for name in packed if is_below(name, rooms))
    pruned = [after for option, after in pairwise(options) if option == "--prune"]
    assert pruned
    assert names
    libraries = " ".join(name.replace("-", "_") for name in pruned)
    done = start(WITHOUT_PRUNED, tree, libraries, *names)
    assert done.returncode == 0, done.stderr


def test_the_process_that_speaks_libp2p_imports_no_library_that_the_seed_lacks(
    graph: ImportGraph, tmp_path: Path
) -> None:
    tree = install(SEED, graph, tmp_path / "root")
    kept = {each.partition(".")[0] for each in (*UNUSED, "varint")}
    libraries = {name.replace("-", "_") for name in recipe.UNUSED_BY_LIBP2P} - kept
    start_up = "phase_boot.libp2p_node.unused_modules"
    program = WITHOUT_PRUNED.replace(
        "for each", f"import {start_up} as u; u.install()\nfor each", 1
    )
    done = start(program, tree, " ".join(libraries), "phase_boot.libp2p_node.operations")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("packing", "words"),
    [
        (SEED, ["daemon", "--help"]),
        (TARGET, ["serve", "--help"]),
        (TARGET, ["plasma", "--help"]),
    ],
    ids=["seed", "target serves", "target runs jobs"],
)
def test_the_command_line_starts_with_what_is_packed(
    graph: ImportGraph, tmp_path: Path, packing: Packing, words: list[str]
) -> None:
    done = start(START, install(packing, graph, tmp_path / "root"), *words)
    assert done.returncode == 0, done.stderr
    assert "usage: phase-boot" in done.stdout


def test_the_target_carries_the_policies_that_its_jobs_read(
    graph: ImportGraph, tmp_path: Path
) -> None:
    done = start(POLICIES, install(TARGET, graph, tmp_path / "root"), f"ed25519:{'65' * 32}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["internet", "lan", "internet"]


@pytest.mark.parametrize(
    ("packing", "readers"), [(SEED, set()), (TARGET, {"phase_boot.plasma.module_source"})]
)
def test_each_packed_module_that_reads_a_file_beside_itself_is_known(
    graph: ImportGraph, packing: Packing, readers: set[str]
) -> None:
    """`Packing.data` names what these modules read; the test above reads it."""
    files = {name: graph.file(name) for name in packed_modules(packing, graph)}
    found = {name for name, file in files.items() if file and "__file__" in file.read_text()}
    assert found == readers


@pytest.mark.parametrize("command", ["publish", "drill", "plasma", "fetch", "serve", "graph"])
def test_a_command_that_the_seed_lacks_is_refused_by_name(
    graph: ImportGraph, tmp_path: Path, command: str
) -> None:
    done = start(START, install(SEED, graph, tmp_path / "root"), command)
    assert done.returncode == edge.USAGE
    assert "is not part of the seed" in done.stderr


def test_a_daemon_that_imports_a_publisher_is_not_packed(tmp_path: Path) -> None:
    for name, text in {
        "phase_boot/__init__.py": "",
        "phase_boot/daemon.py": "def run():\n    from phase_boot import publish\n",
        "phase_boot/publish.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    packing = Packing(programs=("phase_boot.daemon",), forbidden=("phase_boot.publish",))
    with pytest.raises(ForbiddenImport, match=r"phase_boot\.publish would be packed"):
        packed_modules(packing, ImportGraph(tmp_path))


def test_a_step_reads_no_more_of_the_project_than_it_needs(graph: ImportGraph) -> None:
    kernel = graph.closure(["image.steps.kernel"])
    assert "image.kconfig" in kernel
    assert not [name for name in kernel if name.startswith(("states", "phase_boot.machine"))]
    assert {"phase_boot.handoff.cpio", "image.file_tree"} <= graph.closure(
        ["image.steps.initramfs"]
    )
    assert "image.recipe" not in graph.closure(["image.steps.seed", "image.steps.target"])


def test_no_step_reads_a_file_beside_its_modules_that_no_argument_names(
    graph: ImportGraph,
) -> None:
    """`image.repository` names folders only, and `image.hello` reads of those that are passed."""
    steps = [name for name in graph.modules(["image"]) if name.startswith("image.steps.")]
    modules = graph.closure(steps)
    files = {name: file for name in modules if (file := graph.file(name)) is not None}
    reading = {name for name, file in files.items() if "__file__" in file.read_text()}
    assert reading <= {"image.repository", "image.hello"}


def test_the_command_line_names_the_rooms_that_the_seed_lacks(graph: ImportGraph) -> None:
    packed = packed_modules(SEED, graph)
    missing = {target.partition(":")[0] for target, _ in COMMANDS.values()} - packed
    assert [name for name in missing if not is_below(name, NOT_IN_SEED)] == []
    assert [
        room for room in NOT_IN_SEED if not any(is_below(name, (room,)) for name in missing)
    ] == []
    rooms = [room for room in NOT_IN_SEED if room != COMMAND_LINE]
    assert [name for name in packed if is_below(name, rooms)] == []
