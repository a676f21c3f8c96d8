"""Read the JUnit files that pytest leaves in build/results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase

ROOT: Final = Path(__file__).parent.parent


def outcomes(xml: JUnitXml) -> dict[str, bool | None]:
    """Return by test name whether it passed; None means that it was skipped."""
    found: dict[str, bool | None] = {}
    for case in _cases(xml):
        kinds = {type(result) for result in case.result}
        name = _name(str(case.classname), str(case.name))
        found[name] = None if Skipped in kinds else not kinds & {Failure, Error}
    return found


def _name(classname: str, name: str) -> str:
    """Return a test's name as pytest takes it: JUnit puts file and class into one dotted word."""
    parts = classname.split(".")
    modules = [part for part in parts if not part[:1].isupper()]
    return "::".join(["/".join(modules) + ".py", *parts[len(modules) :], name])


def _cases(xml: JUnitXml) -> Iterator[TestCase]:
    for suite in xml:
        yield from suite
