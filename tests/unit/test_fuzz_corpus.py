"""Every case of the fuzzing corpus, without the fuzzer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.bounds import TookTooMuch, bounded
from tests.fuzz.target import CORPUS, NAMES, kept, load

ROOT = Path(__file__).parents[2]


def cases() -> Iterator[object]:
    for name in NAMES:
        for label, data in {**load(name).starts, **kept(name)}.items():
            yield pytest.param(name, data, id=f"{name}-{label}")


@pytest.mark.parametrize(("name", "data"), list(cases()))
def test_a_case_is_refused_as_documented_or_accepted_as_promised(name: str, data: bytes) -> None:
    target = load(name)
    target.one(data)
    for cut in range(0, len(data), max(1, len(data) // 16)):
        target.one(data[:cut])
        target.one(data[cut:])


@pytest.mark.parametrize("name", NAMES)
def test_cases_to_start_from_fit_the_length_that_is_tried(name: str) -> None:
    target = load(name)
    assert target.starts
    assert max(map(len, target.starts.values())) <= target.max_len


def test_a_kept_case_belongs_to_a_target() -> None:
    assert {folder.name for folder in CORPUS.glob("*")} <= set(NAMES)


def test_a_parser_that_hangs_fails_the_target_even_if_it_refuses_the_input() -> None:
    calls = []

    def slow(data: bytes) -> None:
        calls.append(data)
        assert sum(range(10_000_000))

    with pytest.raises(TookTooMuch, match="ms of CPU for 4 bytes"):
        bounded(slow)(b"slow")
    assert calls == [b"slow"] * 4


HUNGRY = """
from tests.fuzz.bounds import TookTooMuch, bounded

def hungry(_):
    assert bytearray(b"x") * (512 << 20)

try:
    bounded(hungry)(b"")
except TookTooMuch:
    print("caught")
"""


def test_a_parser_that_allocates_too_much_fails_the_target() -> None:
    # In a process of its own, whose largest size so far is known to be small.
    done = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, cwd=ROOT, check=True)
    assert done.stdout == b"caught\n"
