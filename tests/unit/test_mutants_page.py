"""docs/mutants.md lists the mutants that no test detects; this checks its form."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants import PAGE, Mutant, function_of, listed, read_mutant

ROOT = Path(__file__).parents[2]
LISTED = listed(PAGE.read_text())


def source_of(function: str) -> str:
    """Return the source of a function by its dotted name; fail if there is none."""
    parts = function.split(".")
    cut = next(n for n in range(len(parts), 0, -1) if (ROOT / Path(*parts[:n])).is_dir()) + 1
    file = (ROOT / Path(*parts[:cut])).with_suffix(".py")
    text = file.read_text()
    node: ast.AST = ast.parse(text)
    for name in parts[cut:]:
        node = next(
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name == name
        )
    return ast.get_source_segment(text, node) or ""


@pytest.mark.parametrize("mutant", LISTED, ids=lambda mutant: mutant.function)
def test_a_listed_mutant_is_of_a_line_that_is_still_there(mutant: Mutant) -> None:
    lines = {line.strip() for line in source_of(mutant.function).splitlines()}
    removed = {line[2:] for line in mutant.diff if line.startswith("-")}
    assert removed
    assert removed <= lines


def test_every_entry_of_the_page_is_read_and_has_a_reason() -> None:
    lines = PAGE.read_text().splitlines()
    removed = [line for mutant in LISTED for line in mutant.diff if line.startswith("-")]
    assert len(removed) == len([line for line in lines if line.startswith("  - ")])
    assert all(len(reason) > 20 for reason in LISTED.values())


def test_a_mutant_is_identified_by_its_function_and_lines() -> None:
    shown = (
        "# phase_boot.trust.passphrase_box.x_seal__mutmut_3: survived\n"
        "--- a\n+++ a\n@@ -1,2 +1,2 @@\n"
        " def seal():\n-    return 1\n+    return 2\n"
    )
    mutant = read_mutant("phase_boot.trust.passphrase_box.x_seal__mutmut_3", shown)
    assert mutant == Mutant("phase_boot.trust.passphrase_box.seal", ("- return 1", "+ return 2"))
    assert listed(f"{mutant}\n") == {mutant: "why?"}
    two = f"{mutant}".replace("return 2", "return 2\n\n  - return 3\n  + return 4")
    assert len(listed(two)) == 2
    assert function_of("phase_boot.trust.passphrase_box.xǁCostǁ__post_init____mutmut_3") == (
        "phase_boot.trust.passphrase_box.Cost.__post_init__"
    )
    assert function_of("phase_boot.trust.root.x__read__mutmut_1") == "phase_boot.trust.root._read"
