"""Output that is generated from the parser: completion, the manual page, the version."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from phase_boot.cli.main import main, parser
from tests.results import ROOT

COMPLETE = """
source /dev/stdin
COMP_WORDS=(phase-boot {words}) COMP_CWORD={last}
complete -p phase-boot >/dev/null || exit 1
_shtab_phase_boot
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def commands(words: argparse.ArgumentParser) -> Iterator[str]:
    for action in words._actions:  # noqa: SLF001 - argparse has no other list of them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - and no other name
            yield from action.choices


def completed(capsys: pytest.CaptureFixture[str], *words: str) -> set[str]:
    """Return what bash offers for the last of ``words``."""
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    command = COMPLETE.format(words=" ".join(words), last=len(words))
    done = subprocess.run(
        ["bash", "-c", command], input=script, check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "pu") == {"publish"}
    assert completed(capsys, "''") >= set(commands(parser()))


def test_bash_completes_the_options_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"--keep", "--dry-run"} <= completed(capsys, "prune", "--")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_each_shell_gets_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "publish" in capsys.readouterr().out


def test_the_manual_page_has_every_command_and_no_fault(tmp_path: Path) -> None:
    page = tmp_path / "phase-boot.1"
    tool = shutil.which("argparse-manpage", path=str(ROOT / ".venv/bin"))
    assert tool is not None
    words = ("--module", "phase_boot.cli.main", "--function", "parser", "--prog", "phase-boot")
    subprocess.run([tool, *words, "--output", str(page)], check=True, cwd=ROOT)
    text = page.read_text().replace("\\-", "-")
    for command in commands(parser()):
        assert f"phase-boot\\fR \\fI\\,{command}\\/" in text, command
    groff = shutil.which("groff")
    if groff is not None:
        checked = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-z", str(page)],
            check=True,
            capture_output=True,
            text=True,
        )
        assert checked.stderr == ""


def test_the_version_is_the_installed_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"phase-boot {version('phase-boot')}\n"
