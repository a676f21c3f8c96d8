"""The sentences that people read, in one file: `python -m tests.wording` writes tests/wording.txt.

Error messages and help texts are collected from the source: the message of each `raise`, and each
`help` and `description` of the command line. A change of wording shows up in that file alone, for a
reviewer to read; other tests compare codes and facts. Values within a sentence are `{}`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.results import ROOT

PAGE: Final = ROOT / "tests/wording.txt"
PACKAGES: Final = ("phase_boot", "states", "policies", "loader", "image")
FEWEST_WORDS: Final = 3
"""A shorter string is a name or a value."""
_HELP: Final = frozenset({"help", "description", "epilog"})


def page(root: Path = ROOT) -> str:
    """Return the sentences of all packages below ``root``, each once, in alphabetical order."""
    trees = [
        ast.parse(path.read_text()) for name in PACKAGES for path in (root / name).rglob("*.py")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    errors = sorted({text for node in nodes for text in _errors(node)})
    helps = sorted({text for node in nodes for text in _help(node)})
    return "\n".join(["# Errors", *errors, "", "# Help", *helps, ""])


def _errors(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        for argument in node.exc.args:
            yield from _sentence(argument)


def _help(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.keyword) and node.arg in _HELP:
        yield from _sentence(node.value)


def _sentence(node: ast.expr) -> Iterator[str]:
    text = " ".join(_text(node).split())
    if len(text.split()) >= FEWEST_WORDS:
        yield text


def _text(node: ast.expr) -> str:
    """Return a string as it stands in the source, with `{}` for each value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return "{}" if isinstance(node, ast.FormattedValue) else ""


if __name__ == "__main__":
    PAGE.write_text(page())
