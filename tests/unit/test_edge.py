# ruff: noqa: SLF001 - argparse has no public list of its commands and options
"""Streams that are closed, full or left, ^C, and words that are not UTF-8, for every command.

The commands are taken from the parser, so that a new one is under test the day it is written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from image.cli import parser as builder
from phase_boot.app import edge
from phase_boot.cli.main import parser

ROOT = Path(__file__).parents[2]
NOT_UTF8 = b"\xff\xfe.bad"
"""A file name that no codec takes."""
MOVE = (
    '{"boot_id": "b", "event": "state.entered", "seq": 0, "at": 1.0, "state": "init", "attempt": 1}'
)
SPEAKS: Mapping[str, tuple[str, ...]] = {
    "graph": (),
    "refusals": (),
    "replay": ("journal",),
    "policy": ("--key", f"ed25519:{'0' * 64}"),
    "drill": ("--seed", "1"),
    "key new": ("new.key",),
    "verify": (".", "--key", f"ed25519:{'0' * 64}"),
}
"""Words with which a command writes to standard output and needs nothing else."""
SAYS_BY_EVENTS = "phase-boot plasma boot"
"""The one command whose failures go to the machine's event devices."""
CALLS = (1, 7, 40, 150)
"""The calls of our own functions at which Ctrl-C is pressed."""


@dataclass(frozen=True)
class Case:
    name: str
    words: tuple[bytes, ...]
    stdout: str = "file"
    interrupt: int | None = None
    program: str = "phase-boot"
    env: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "program": self.program,
            "words": [word.hex() for word in self.words],
            "stdout": self.stdout,
            "interrupt": self.interrupt,
            "env": dict(self.env),
            "files": {"journal": MOVE + "\n"},
        }


def leaves(
    of: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield every command with the parser of its options."""
    nested = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield path, of
    for action in nested:
        for name, inner in action.choices.items():
            yield from leaves(inner, (*path, name))


def word_of(action: argparse.Action) -> bytes:
    """Return a value of an option: not UTF-8 wherever the option takes any text."""
    if action.choices:
        return os.fsencode(str(next(iter(action.choices))))
    for value in (NOT_UTF8, b"1", b"amd64"):
        try:
            if callable(action.type):
                action.type(os.fsdecode(value))
        except (ValueError, TypeError, argparse.ArgumentTypeError):
            continue
        return value
    raise AssertionError(f"no value for {action}")


def words_for(options: argparse.ArgumentParser) -> tuple[bytes, ...]:
    """Return words that the parser takes: every positional and every option that it demands."""
    words: list[bytes] = []
    wanted = [action for action in options._actions if action.required]
    wanted += [
        next(action for action in group._group_actions if action.nargs != 0)
        for group in options._mutually_exclusive_groups
        if group.required
    ]
    for action in wanted:
        if action.option_strings:
            words.append(action.option_strings[0].encode())
        words.append(word_of(action))
    return tuple(words)


COMMANDS = [("phase-boot", *leaf) for leaf in leaves(parser())] + [
    ("image", *leaf) for leaf in leaves(builder())
]


def cases() -> Iterator[Case]:
    for program, path, options in COMMANDS:
        name = " ".join((program, *path))
        start = tuple(part.encode() for part in path)
        junk = start + words_for(options)
        if program == "image" and path[0] != "packages":
            junk += (b"--dry-run",)
        yield Case(f"{name}: not UTF-8", junk, program=program)
        yield Case(f"{name}: not UTF-8, ascii", junk, stdout="ascii", program=program)
        for stdout in ("closed", "full", "left"):
            yield Case(f"{name} --help: {stdout}", (*start, b"--help"), stdout, program=program)
        spoken = SPEAKS.get(" ".join(path)) if program == "phase-boot" else None
        own = start + (junk[len(start) :] if spoken is None else tuple(map(os.fsencode, spoken)))
        for stdout in ("closed", "full", "left"):
            yield Case(f"{name}: {stdout}", own, stdout, program=program)
        for calls in CALLS:
            yield Case(f"{name}: ^C at call {calls}", own, interrupt=calls, program=program)


CASES = list(cases())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("edge")
    (folder / "cases").write_text(json.dumps([case.as_json() for case in CASES]))
    subprocess.run(
        [sys.executable, "-m", "tests.support.forked_commands", folder / "cases", folder / "out"],
        cwd=ROOT,
        check=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    output = json.loads((folder / "out").read_text())
    return {case.name: outcome for case, outcome in zip(CASES, output, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_no_stream_interrupt_or_argument_causes_a_traceback(
    case: Case, outcomes: Mapping[str, Any]
) -> None:
    outcome = outcomes[case.name]
    assert "Traceback" not in outcome["err"], outcome["err"]
    assert outcome["status"] in edge.STATUSES, outcome
    assert outcome["status"] != edge.UNFORESEEN, outcome
    if case.interrupt is not None and outcome["interrupted"]:
        assert outcome["status"] == edge.INTERRUPTED
    if "--help" in case.name:
        wanted = edge.READER_LEFT if case.stdout == "left" else edge.FAILED
        assert outcome["status"] == wanted
    if case.stdout in {"closed", "full"} and outcome["status"] == edge.FAILED:
        assert SAYS_BY_EVENTS in case.name or outcome["err"].strip()


def speaking() -> Sequence[str]:
    return [f"phase-boot {name}" for name in SPEAKS]


@pytest.mark.parametrize("name", speaking())
def test_output_that_is_lost_is_a_failure_and_one_sentence(
    name: str, outcomes: Mapping[str, Any]
) -> None:
    for stdout, cause in (("closed", "Bad file descriptor"), ("full", "No space left on device")):
        outcome = outcomes[f"{name}: {stdout}"]
        assert outcome["status"] == edge.FAILED
        assert f"The output cannot be written: {cause}." in outcome["err"]
    assert outcomes[f"{name}: left"]["status"] in {edge.READER_LEFT, edge.FAILED}


@pytest.mark.parametrize("name", ["graph", "refusals", "policy", "drill", "replay"])
def test_a_reader_that_has_left_is_reported_as_sigpipe(
    name: str, outcomes: Mapping[str, Any]
) -> None:
    outcome = outcomes[f"phase-boot {name}: left"]
    assert (outcome["status"], outcome["err"]) == (edge.READER_LEFT, "")


def test_every_command_is_interrupted_at_some_call(outcomes: Mapping[str, Any]) -> None:
    for program, path, _ in COMMANDS:
        name = " ".join((program, *path))
        assert any(outcomes[f"{name}: ^C at call {calls}"]["interrupted"] for calls in CALLS), name


def test_the_help_lists_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    parser().print_help()
    output = " ".join(capsys.readouterr().out.split())
    assert all(f"{status} {means}" in output for status, means in edge.STATUSES.items())


@pytest.mark.parametrize("error", [RecursionError("deep"), KeyError("x"), ValueError("\x1b[2J")])
def test_an_unforeseen_exception_is_one_sentence_with_its_place(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> int:
        raise error

    assert edge.run(broken, whole=False) == edge.UNFORESEEN
    err = capsys.readouterr().err
    assert (err.count("\n"), "Traceback" in err, "\x1b" in err) == (1, False, False)
    assert f"{type(error).__name__} at tests/unit/test_edge.py:" in err


def test_the_trace_of_an_unforeseen_exception_can_be_had(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(edge.TRACE, "1")
    assert edge.run(lambda: 1 // 0, whole=False) == edge.UNFORESEEN
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_process_itself_ends_without_a_trace() -> None:
    program = Path(sys.executable).with_name("phase-boot")
    for words, wanted in (
        (f"'{program}' graph >&-", 1),
        (f"'{program}' graph > /dev/full", 1),
        (f"'{program}' graph | true; exit ${{PIPESTATUS[0]}}", 141),
        (f"'{program}' refusals <&- >/dev/null 2>&-", 0),
    ):
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (wanted, int(wanted == 1)), words
