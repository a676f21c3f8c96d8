"""The page of all refusals, written from the classes themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Final

from phase_boot.trust.claims import CLAIM_REFUSALS
from phase_boot.trust.refusals import REFUSALS, Refusal

_HEAD: Final = """\
# The refusals

Written by `phase-boot refusals`; a test compares this page with the code. Each has a code, which
the journal keeps, and one sentence with the way out. *Shunned* says that nothing else is asked of
whoever sent it: nobody honest can have.
"""
_TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "document": "Any document",
        "signature": "Manifests, in the order of the checks",
        "root": "Roots",
        "state": "What the stick wrote down",
        "receipt": "Receipts of jobs",
    }
)
_SAME_GROUP: Final[Mapping[str, str]] = MappingProxyType(
    {"manifest": "signature", "clock": "signature"}
)


def page() -> str:
    """Return docs/refusals.md."""
    groups = groupby((*REFUSALS, *CLAIM_REFUSALS), _group)
    return "\n".join([_HEAD, *("\n".join(_section(name, kinds)) for name, kinds in groups)])


def table() -> str:
    """Return every refusal as one JSON object a line."""
    kinds = (*REFUSALS, *CLAIM_REFUSALS)
    return "".join(
        json.dumps(
            {
                "code": kind.code,
                "what": kind.__doc__,
                "sentence": kind.sentence,
                "bans": kind.ban_source,
            }
        )
        + "\n"
        for kind in kinds
    )


def _group(kind: type[Refusal]) -> str:
    family = kind.code.partition(".")[0]
    return _SAME_GROUP.get(family, family)


def _section(name: str, kinds: Iterable[type[Refusal]]) -> Iterable[str]:
    yield f"## {_TITLES[name]}\n"
    yield "| code | what it is | what is said | shunned |"
    yield "|---|---|---|---|"
    for kind in kinds:
        shunned = "yes" if kind.ban_source else ""
        yield f"| `{kind.code}` | {kind.__doc__} | {kind.sentence} | {shunned} |"
    yield ""
