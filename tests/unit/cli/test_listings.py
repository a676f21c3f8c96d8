"""With --json each listing prints one object a line and nothing else."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.cli.main import main, parser
from phase_boot.trust.refusals import REFUSALS
from tests.support.provider import make_site

LISTINGS = {
    "announce",
    "plasma ls",
    "plasma verify",
    "prune",
    "receipts",
    "refusals",
    "root show",
    "serve",
    "verify",
}


def commands(words: argparse.ArgumentParser, name: str = "") -> Iterator[str]:
    """Yield every command that takes --json."""
    for action in words._actions:  # noqa: SLF001 - argparse has no other list of them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - and no other name
            for word, command in action.choices.items():
                yield from commands(command, f"{name} {word}".strip())
        elif "--json" in action.option_strings:
            yield name


def test_every_listing_can_be_read_by_programs() -> None:
    assert set(commands(parser())) == LISTINGS


def test_each_refusal_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refusals", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {kind.code for kind in REFUSALS} <= {each["code"] for each in listed}
    assert all(each["sentence"] for each in listed)


def test_each_finding_is_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = make_site(tmp_path / "site")
    status = main(["verify", str(site), "--key", f"ed25519:{'0' * 64}", "--json"])
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == 1
    assert {"subject", "good", "text"} == set(listed[0])
    assert not all(each["good"] for each in listed)
