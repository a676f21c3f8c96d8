"""The abilities of an output are decided by its kind and TERM, in one module."""

from __future__ import annotations

import os
import re
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from phase_boot.console.display import COLUMNS, FILE, display_of, is_dumb
from phase_boot.console.lines import folding
from tests.results import ROOT


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    """A pseudo-terminal without a size."""
    outer, inner = os.openpty()
    with os.fdopen(inner, "w") as stream:
        yield stream
    os.close(outer)


@pytest.mark.parametrize("term", ["dumb", "unknown", "", None])
def test_a_dumb_or_unknown_terminal_gets_no_escape_sequence(
    terminal: TextIO, term: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    display = display_of(terminal)
    assert display.folds
    assert not display.moves


@pytest.mark.parametrize("no_color", ["", "1"])
def test_any_other_terminal_gets_escape_sequences(
    terminal: TextIO, no_color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    display = display_of(terminal)
    assert display.folds
    assert display.moves


def test_the_kernels_consoles_are_no_dumb_terminals_without_a_term(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    assert not is_dumb(usual="linux")
    monkeypatch.setenv("TERM", "dumb")
    assert is_dumb(usual="linux")


def test_a_file_gets_lines_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with (tmp_path / "log").open("w") as stream:
        assert display_of(stream) is FILE
        folding(stream.write, FILE)("word " * 100 + "\n")
    assert (tmp_path / "log").read_text().count("\n") == 1


def test_a_terminal_without_a_size_counts_as_a_usual_one(terminal: TextIO) -> None:
    assert display_of(terminal).columns() == COLUMNS
    termios.tcsetwinsize(terminal, (25, 40))
    assert display_of(terminal).columns() == 39


def test_whole_lines_are_folded_to_a_terminal(terminal: TextIO) -> None:
    termios.tcsetwinsize(terminal, (25, 40))
    out: list[str] = []
    folding(out.append, display_of(terminal))(f"{'word ' * 20}end\n\nnext\n")
    lines = "".join(out).split("\n")
    assert max(map(len, lines)) <= 39
    assert lines[-3:] == ["", "next", ""]


def test_no_other_module_makes_escape_sequences_of_its_own() -> None:
    allowed = {
        "phase_boot/console/lines.py",  # the one that is written where a display moves
        "phase_boot/adapters/terminal/keys.py",  # what is typed
        "phase_boot/drill/mutate.py",  # what a hostile peer says
    }
    found = {
        str(path.relative_to(ROOT))
        for room in ("phase_boot", "states", "image", "policies", "loader")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"\\x1b|\\033|\\e\[|\\u001b", path.read_text())
    }
    assert found <= allowed
