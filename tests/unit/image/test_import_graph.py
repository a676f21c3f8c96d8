"""Which modules a module imports, read from source."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.import_graph import ImportGraph

SOURCE = """
from typing import TYPE_CHECKING
import a.eager
from . import beside
from .deep.below import name
if TYPE_CHECKING:
    from a import types_only
else:
    from a import otherwise
TABLE = {"command": "a.named:function", "text": "a.missing", "sentence": "a.sentence is no module"}
def run():
    from a import lazy
    return Tool.ZSTD, tools.Tool.TAR
class Thing:
    import a.in_class
"""
NAMES = (
    *("a", "a.module", "a.eager", "a.beside", "a.deep", "a.deep.below", "a.types_only"),
    *("a.otherwise", "a.named", "a.lazy", "a.in_class", "a.sentence"),
)


@pytest.fixture
def graph(tmp_path: Path) -> ImportGraph:
    for name in NAMES:
        is_package = name in {"a", "a.deep"}
        path = tmp_path.joinpath(*name.split("."), *(["__init__"] if is_package else []))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(SOURCE if name == "a.module" else "")
    return ImportGraph(tmp_path)


def test_a_closure_has_every_import_that_can_run(graph: ImportGraph) -> None:
    assert graph.closure(["a.module"]) == set(NAMES) - {"a.types_only", "a.sentence"}


def test_of_a_table_of_commands_only_the_eager_imports_are_followed(graph: ImportGraph) -> None:
    found = graph.closure(["a.module"], boundary=["a.module"])
    assert not found & {"a.lazy", "a.named"}
    assert {"a.eager", "a.beside", "a.in_class", "a.otherwise", "a.deep.below"} <= found


def test_a_package_that_is_left_out_is_not_followed(graph: ImportGraph) -> None:
    assert not [n for n in graph.closure(["a.module"], left_out=["a.deep"]) if "deep" in n]


def test_tools_and_foreign_libraries_are_named(graph: ImportGraph) -> None:
    assert graph.tools(["a.module"]) == {"ZSTD", "TAR"}
    assert graph.external(["a.module"]) == {"typing"}
