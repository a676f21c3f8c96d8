"""Read the members of a port from its Protocol.

The errors of a method are those under `Raises:` in its docstring, or in its Protocol's. Reading
them keeps the drill complete: a new method or error is under fault without a list to update.
"""

from __future__ import annotations

import builtins
import inspect
import itertools
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum, auto
from functools import cache
from types import ModuleType
from typing import Any, Final, get_args, get_origin, get_type_hints

from phase_boot.machine import errors as boot_errors
from phase_boot.ports import fetcher
from phase_boot.store import errors as store_errors

PACKAGE: Final = "phase_boot."
_RAISES: Final = re.compile(r"^Raises:\n((?:[ ]+.*\n?|\n)+)", re.MULTILINE)
_NAME: Final = re.compile(r"^ {4}(\w+):", re.MULTILINE)
_STREAMS: Final = frozenset({AsyncGenerator, AsyncIterator})


class Kind(StrEnum):
    """Kinds of members."""

    VALUE = auto()
    """Read as a property."""
    CALL = auto()
    COROUTINE = auto()
    STREAM = auto()
    """An async generator."""


@dataclass(frozen=True, slots=True)
class Member:
    """A method or property of a port."""

    port: str
    name: str
    kind: Kind
    returns: Any
    """The annotation of the result; of each piece for a stream."""
    takes: tuple[Any, ...]
    """The annotations of the arguments."""
    raises: tuple[type[Exception], ...]

    def __str__(self) -> str:
        """Return PORT.NAME."""
        return f"{self.port}.{self.name}"

    def refusals(self) -> list[Callable[[], Exception]]:
        """Return factories of each documented error, one for each combination of its flags."""
        return [factory for error in self.raises for factory in _factories(error, str(self))]


@cache
def members_of(port: type) -> tuple[Member, ...]:
    """Return the members of ``port``, inherited ones included.

    Raises:
        ValueError: a docstring names an unknown error.
    """
    found: dict[str, Member] = {}
    for owner in reversed([kind for kind in port.__mro__ if is_port(kind)]):
        for name, value in vars(owner).items():
            if not name.startswith("_") and (isinstance(value, property) or callable(value)):
                found[name] = _member(port, owner, name, value)
    return tuple(found.values())


def is_port(kind: object) -> bool:
    """Return whether ``kind`` is a Protocol of this project and no stream."""
    own = isinstance(kind, type) and kind.__module__.startswith(PACKAGE)
    return own and bool(getattr(kind, "_is_protocol", False)) and not hasattr(kind, "__anext__")


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """Return the annotations of a class, as types."""
    return get_type_hints(kind)


@cache
def ports_within(*annotations: Any) -> tuple[type, ...]:
    """Return every port that ``annotations`` reach, at any depth.

    The search follows what ports return and yield, fields of dataclasses, and the parameters of our
    classes.
    """
    seen: dict[Any, None] = {}
    waiting = list(annotations)
    while waiting:
        kind = waiting.pop(0)
        parts = get_args(kind)
        waiting += [part for each in parts for part in (each if isinstance(each, list) else [each])]
        own = isinstance(kind, type) and kind.__module__.startswith(PACKAGE)
        if not own or kind in seen:
            continue
        seen[kind] = None
        waiting += _reachable_from(kind)
    return tuple(kind for kind in seen if is_port(kind))


def _reachable_from(kind: type) -> list[Any]:
    if is_port(kind):
        return [member.returns for member in members_of(kind)]
    if is_dataclass(kind):
        hints = hints_of(kind)
        return [hints[field.name] for field in fields(kind)]
    constructor = vars(kind).get("__init__")
    return [*get_type_hints(constructor).values()] if inspect.isfunction(constructor) else []


def _member(port: type, owner: type, name: str, value: Any) -> Member:
    function = value.fget if isinstance(value, property) else value
    hints = get_type_hints(function, include_extras=True)
    returns = hints.pop("return", None)
    kind = Kind.CALL
    if isinstance(value, property):
        kind = Kind.VALUE
    elif inspect.iscoroutinefunction(value):
        kind = Kind.COROUTINE
    elif get_origin(returns) in _STREAMS:
        kind, returns = Kind.STREAM, get_args(returns)[0]
    elif (next_piece := getattr(returns, "__anext__", None)) is not None:
        # A Protocol of an asynchronous iterator, such as `ports.fetcher.ResponseBody`.
        kind, returns = Kind.STREAM, get_args(hints_of(next_piece)["return"])[0]
    docstrings = f"{inspect.getdoc(owner) or ''}\n\n{inspect.getdoc(function) or ''}"
    raises = tuple(_error(error, owner, name) for error in _documented(docstrings))
    return Member(port.__name__, name, kind, returns, tuple(hints.values()), raises)


def _documented(docstrings: str) -> Iterator[str]:
    for section in _RAISES.findall(docstrings):
        yield from _NAME.findall(section)


def _error(error: str, owner: type, name: str) -> type[Exception]:
    modules: list[ModuleType] = [
        sys.modules[owner.__module__],
        fetcher,
        boot_errors,
        store_errors,
        builtins,
    ]
    for module in modules:
        found = getattr(module, error, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    raise ValueError(f"{owner.__name__}.{name} documents {error}, which is no known error")


def _factories(error: type[Exception], member: str) -> list[Callable[[], Exception]]:
    """Return factories of ``error``: one for each combination of its keyword-only flags."""
    parameters = inspect.signature(error.__init__).parameters.values()
    hints = get_type_hints(error.__init__)
    flags = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and hints[p.name] is bool]
    return [
        _maker(error, f"{member} fails in the drill", dict(zip(flags, values, strict=True)))
        for values in itertools.product((False, True), repeat=len(flags))
    ]


def _maker(error: type[Exception], text: str, flags: dict[str, bool]) -> Callable[[], Exception]:
    return lambda: error(text, **flags)
