"""Messages and help texts match tests/wording.txt; refusals match docs/refusals.md."""

from __future__ import annotations

from pathlib import Path

from tests.wording import PACKAGES, PAGE, page


def test_the_sentences_are_those_of_the_snapshot() -> None:
    assert page() == PAGE.read_text(), "read what changed, then run `make wording`"


def test_errors_and_help_are_collected_with_gaps_for_values(tmp_path: Path) -> None:
    for name in PACKAGES:
        (tmp_path / name).mkdir()
    (tmp_path / "phase_boot/a.py").write_text(
        'raise E(f"the file {x} is "\n  "missing; make it", 1)\nraise E("short one")\nraise E(x)\n'
        'p.add_argument("--x", help="use this mirror", metavar="NOT A HELP TEXT")\n'
    )
    assert page(tmp_path) == (
        "# Errors\nthe file {} is missing; make it\n\n# Help\nuse this mirror\n"
    )
