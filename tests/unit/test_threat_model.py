"""Each test that docs/threat-model.md names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "threat-model.md").read_text()
NAMED: Final = re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE)


@cache
def names_in(file: str) -> frozenset[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    functions = (n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize("named", sorted(set(NAMED)))
def test_a_test_that_the_threat_model_names_exists(named: str) -> None:
    file, _, name = named.partition("::")
    assert name in names_in(file)


def test_every_threat_names_a_test_or_says_that_there_is_none() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 5]
    threats = [row for row in rows if not row.startswith("| threat ")]
    assert len(threats) > 30
    assert [row for row in threats if "tests/" not in row and "| no test |" not in row] == []
    assert PAGE.count("tests/") == len(NAMED)
