"""The schema of the journal: all events, and the valid values of each field.

It is derived from the event classes in the modules `*_events`, so a new event needs no second
definition. Events of a plugin, a provider or Plasma are no part of it.
"""

from __future__ import annotations

import errno
import importlib
import math
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from enum import Enum
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints

from phase_boot import journal
from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.handoff.kernel import Format
from phase_boot.journal.event import Event
from phase_boot.journal.journal import MAX_TEXT
from phase_boot.journal.record import DIGITS
from phase_boot.ports.kexec import Method
from phase_boot.ports.operator import MenuAction
from phase_boot.trust.fields import parse_channel
from phase_boot.trust.keys import parse_keyid
from policies.model import Mode

STAMPS: Final[Mapping[str, Any]] = MappingProxyType(
    {"boot_id": str, "event": str, "seq": int, "at": float}
)
"""The types of the fields that the journal adds to every event."""
_BOOT_ID: Final = re.compile(r"[!-~]{1,64}")
_CODE: Final = re.compile(r"[a-z][a-z-]{0,31}(\.[a-z][a-z-]{0,31})?")
_MAY_BE_NEGATIVE: Final = frozenset({("stage", "reached")})
"""The only negative number; all others are counts, sizes or durations."""
_FROM_ONE: Final = frozenset({"attempt"})
CHAINLOAD: Final = "chainload"


def _version(text: str) -> None:
    if str(Version.parse(text)) != text:
        raise ValueError(text)


def _date(text: str) -> None:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(text)


def _code(text: str) -> None:
    if not _CODE.fullmatch(text):
        raise ValueError(text)


def _errno(text: str) -> None:
    if text not in errno.errorcode.values():
        raise ValueError(text)


def _first_method(text: str) -> None:
    if text != CHAINLOAD:
        Method(text)


_PARSERS: Final[Mapping[tuple[str, str], Callable[[str], object]]] = MappingProxyType(
    {
        ("run.started", "arch"): Arch,
        ("run.started", "mode"): Mode,
        ("run.started", "wall"): _date,
        ("run.started", "build"): _date,
        ("trust.recalled", "seen"): _version,
        ("root.followed", "seen"): _version,
        ("manifest.verified", "version"): _version,
        ("manifest.verified", "channel"): parse_channel,
        ("manifest.verified", "arch"): Arch,
        ("manifest.verified", "keys"): parse_keyid,
        ("fetch.done", "sha256"): Digest,
        ("candidate.refused", "code"): _code,
        ("state.doubted", "code"): _code,
        ("shell.chose", "action"): MenuAction,
        ("kernel.inspected", "format"): Format,
        ("kernel.inspected", "arch"): Arch,
        ("kernel.inspected", "first"): _first_method,
        ("kexec.failed", "method"): Method,
        ("kexec.failed", "errno"): _errno,
        ("kexec.loaded", "method"): Method,
        ("kexec.jump", "version"): _version,
        ("loader.staged", "version"): _version,
    }
)
"""Parsers of text fields; each raises ValueError for an invalid text."""


@cache
def event_types() -> Mapping[str, type[Event]]:
    """Return the class of every event that a boot emits, by name."""
    for found in pkgutil.iter_modules(journal.__path__, f"{journal.__name__}."):
        if found.name.endswith("_events"):
            importlib.import_module(found.name)
    return MappingProxyType({kind.event: kind for kind in _subclasses(Event)})


def problem_of(record: Mapping[str, Any]) -> str | None:
    """Return why ``record`` is no valid event, in a few words, or None if it is valid."""
    name = record.get("event")
    hints = _types_by_event().get(name) if isinstance(name, str) else None
    if hints is None:
        return f"no event is called {name!r:.80}"
    if record.keys() != hints.keys():
        wrong = ", ".join(sorted(map(ascii, hints.keys() ^ record.keys())))
        return f"{name} has not the fields of that event ({wrong:.200})"
    for field, hint in hints.items():
        value = record[field]
        if not _fits(hint, value):
            return f"{name} has the {field} {value!r:.80}, which its type does not allow"
        if problem := _out_of_bounds(str(name), field, value):
            return f"{name} has the {field} {value!r:.80}, {problem}"
    return None


def _subclasses(kind: type[Event]) -> Iterator[type[Event]]:
    for each in kind.__subclasses__():
        # Events of plugins, tests, providers and Plasma are in no journal of a boot.
        if each.__module__.startswith(f"{journal.__name__}."):
            yield each
        yield from _subclasses(each)


@cache
def _types_by_event() -> Mapping[str, Mapping[str, Any]]:
    """Return the type of every field, by event and field."""
    return {name: {**_field_types(kind), **STAMPS} for name, kind in event_types().items()}


def _field_types(kind: type[Event]) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _fits(hint: object, value: object) -> bool:
    """Return whether ``value`` is the JSON form of a value of the type ``hint``."""
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        return any(_fits(each, value) for each in get_args(hint))
    if origin is tuple:
        return isinstance(value, list) and all(_fits(get_args(hint)[0], one) for one in value)
    if hint is float or hint is int:
        return _is_number(value, whole=hint is int)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, str) and value in {one.value for one in hint}
    return isinstance(value, NoneType if hint is None else cast("type", hint))


def _is_number(value: object, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if whole:
        return isinstance(value, int)
    return math.isfinite(value) and round(value, DIGITS) == value


def _out_of_bounds(name: str, field: str, value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        least = 1 if field in _FROM_ONE else 0
        if value < least and (name, field) not in _MAY_BE_NEGATIVE:
            return f"which is less than {least}"
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"of more than {MAX_TEXT} characters"
    if field == "boot_id" and not _BOOT_ID.fullmatch(str(value)):
        return "which is no name of a run"
    parse = _PARSERS.get((name, field))
    for text in value if isinstance(value, list) else [value]:
        if parse is not None and isinstance(text, str):
            try:
                parse(text)
            except ValueError:
                return "which that field never holds"
    return None
