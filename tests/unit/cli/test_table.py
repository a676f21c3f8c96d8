"""The table of commands: each row loads, and none loads the room of another."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator

import pytest

from phase_boot.cli import main as cli

LEFT_OUT = ("announce", "publish", "plasma", "drill")
"""Rooms that are not in the seed's image."""
SEED = """
import importlib.abc, sys

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        room = name.split(".")[1:2]
        if name.startswith("phase_boot.") and room[0] in ("announce", "publish", "plasma", "drill"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
from phase_boot.cli.main import main
sys.exit(main())
"""


def functions(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the function of each command that has no commands below it."""
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]  # noqa: SLF001 - argparse has no other list of them
    if not below:
        yield parser.get_default("func")
    for action in below:
        for command in action.choices.values():
            yield from functions(command)


def on_the_seed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SEED, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def loaded(*words: str) -> set[str]:
    """Return the modules that a command loads for its help."""
    code = (
        "import sys; from phase_boot.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.rpartition("LOADED ")[2].split())


def test_every_function_that_the_table_names_exists() -> None:
    named = list(functions(cli.parser()))
    assert len(named) > len(cli.COMMANDS)
    assert all(callable(cli._load(name)) for name in named)  # noqa: SLF001 - what it is about
    direct = cli._WITHOUT_OPTIONS.values()  # noqa: SLF001 - the same
    assert all(callable(cli._load(name)) for name in direct)  # noqa: SLF001 - the same


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_the_help_and_the_version_load_no_room(word: str) -> None:
    rooms = {name.split(".")[1] for name in loaded(word) if name.startswith("phase_boot.")}
    assert rooms == {"app", "cli", "cli_support"}


def test_the_help_of_the_daemon_loads_no_other_room() -> None:
    rooms = {name.split(".")[1] for name in loaded("daemon", "--help") if "phase_boot." in name}
    assert rooms == {"app", "cli", "cli_support"}


@pytest.mark.parametrize(
    "words", [("key", "new", "--help"), ("publish", "--help"), ("announce", "--help")]
)
def test_the_help_of_the_publisher_opens_no_key(words: tuple[str, ...]) -> None:
    assert not loaded(*words) & {"aiohttp", "nacl", "numpy", "phase_boot.publish.actions"}


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_a_command_that_the_seed_lacks_is_named_in_one_sentence(name: str) -> None:
    missing = cli.COMMANDS[name][0].split(".")[1] in LEFT_OUT or name in {"completion", "replay"}
    done = on_the_seed(name, *(["bash"] if name == "completion" else ["--help"]))
    if not missing:
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"`phase-boot {name}` is not part of the seed: run it on a machine where phase-boot is "
        "installed with pip.\n"
    )


def test_the_seed_runs_its_daemon() -> None:
    done = on_the_seed("daemon")
    assert done.returncode == 2
    assert "use --dry-run" in done.stderr


def test_an_unknown_command_has_the_status_of_one_that_the_seed_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["publisch"])
    assert ended.value.code == on_the_seed("publish").returncode
    assert "invalid choice: 'publisch'" in capsys.readouterr().err


def test_another_missing_module_is_a_fault_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(cli, "_load", missing)
    assert cli.main(["serve"]) == 70
    assert "ModuleNotFoundError" in capsys.readouterr().err
