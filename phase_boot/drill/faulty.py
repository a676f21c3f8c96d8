"""`Faulty(port, target, plan)`: any port, with the plan's faults in it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import Any, Final, get_args

from phase_boot.drill.members import Kind, Member, hints_of, is_port, members_of
from phase_boot.drill.plan import FAR, NAP, Blow, Fault, Plan
from phase_boot.drill.twist import corrupted, descriptor_of, other, torn
from phase_boot.drill.virtual_time import Hanging
from phase_boot.store.disk import OPEN_FILE
from phase_boot.store.errors import StoreError, store_errors

FOR_EVER: Final = 1e9
ERRNO: Final = {Fault.NO_SPACE: errno.ENOSPC, Fault.IO_ERROR: errno.EIO, Fault.TEAR: errno.EIO}
NOTHING: Final = (None, NoneType)
BYTES: Final = (bytes, bytearray, memoryview)


class Faulty:
    """Stands where ``target`` stood and hands every call on, unless the plan has a blow for it.

    What ``target`` hands out that is a port too, by itself or in a dataclass, is faulty as well.
    """

    def __init__(self, port: type, target: Any, plan: Plan) -> None:
        self._members = {member.name: member for member in members_of(port)}
        self._target = target
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        member = self._members.get(name)
        if member is None:
            return value
        match member.kind:
            case Kind.VALUE:
                return self._call(member, lambda: value, (), {})
            case Kind.COROUTINE:
                return lambda *args, **named: self._await(member, value, args, named)
            case Kind.STREAM:
                return lambda *args, **named: self._stream(member, value, args, named)
            case _:
                return lambda *args, **named: self._call(member, value, args, named)

    def _call(self, member: Member, ask: Callable[..., Any], args: Any, named: Any) -> Any:
        blow = self._struck(member)
        if blow is not None and blow.fault is Fault.HANG:
            raise Hanging
        if _is_skipped(member, blow):
            return self._nothing_done(member, args)
        return self._answer(member, blow, ask(*self._given(member, blow, args), **named))

    async def _await(self, member: Member, ask: Callable[..., Any], args: Any, named: Any) -> Any:
        blow = self._struck(member)
        if blow is not None and blow.fault in {Fault.HANG, Fault.CANCEL}:
            await asyncio.sleep(FOR_EVER)
        if _is_skipped(member, blow):
            return self._nothing_done(member, args)
        return self._answer(member, blow, await ask(*self._given(member, blow, args), **named))

    async def _stream(
        self, member: Member, ask: Callable[..., Any], args: Any, named: Any
    ) -> AsyncGenerator[Any, None]:
        blow = self._plan.strike(member)
        # Struck before the first piece, or when something has been believed already.
        after = blow.which if blow and blow.fault is not Fault.REFUSE else 0
        self._plan.streams += 1
        try:
            async with aclosing(ask(*args, **named)) as pieces:
                number = 0
                async for piece in pieces:
                    if blow is not None and number == after and await self._ends(member, blow):
                        return
                    number += 1
                    yield self._twisted(blow, piece)
                if blow is not None and number <= after:
                    await self._ends(member, blow)
        finally:
            self._plan.streams -= 1

    def _twisted(self, blow: Blow | None, piece: Any) -> Any:
        twist = _TWISTS.get(blow.fault) if blow and blow.fault is not Fault.TEAR else None
        return twist(piece, self._plan.chance) if twist else piece

    async def _ends(self, member: Member, blow: Blow) -> bool:
        """Strike a stream between two pieces; say whether it ends here without a word."""
        self._bear(member, blow)
        if blow.fault in {Fault.HANG, Fault.CANCEL}:
            await asyncio.sleep(FOR_EVER)
        return blow.fault is Fault.TEAR

    def _struck(self, member: Member) -> Blow | None:
        blow = self._plan.strike(member)
        if blow is not None:
            self._bear(member, blow)
        return blow

    def _bear(self, member: Member, blow: Blow) -> None:
        """Do what needs no answer: raise, set the clock, stop the run."""
        match blow.fault:
            case Fault.REFUSE:
                refused = member.refusals()[blow.which]()
                raise refused
            case Fault.NO_SPACE | Fault.IO_ERROR:
                raise _system_error(member, blow.fault)
            case Fault.CLOCK_AHEAD:
                self._plan.clock.jump(FAR, nap=NAP)
            case Fault.CLOCK_BACK:
                self._plan.clock.jump(-FAR)
            case Fault.CANCEL:
                self._plan.cancel()
            case _:
                pass

    def _given(self, member: Member, blow: Blow | None, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what reaches the target of what was handed over for it."""
        if blow is None or not writes(member):
            return args
        if blow.fault is Fault.CORRUPT:
            return tuple(corrupted(a, self._plan.chance) if _is_bytes(a) else a for a in args)
        if blow.fault is Fault.TEAR:
            return tuple(torn(a) if _is_bytes(a) else a for a in args)
        return args

    def _answer(self, member: Member, blow: Blow | None, value: Any) -> Any:
        """Return what the caller is told instead of ``value``."""
        fault = blow.fault if blow is not None else None
        if fault is Fault.TEAR and (writes(member) or _is_whole(member, value)):
            raise _system_error(member, Fault.TEAR)
        if fault in _TWISTS and not writes(member):
            twist, chance = _TWISTS[fault], self._plan.chance
            if OPEN_FILE in get_args(member.returns):
                return descriptor_of(value, lambda content: twist(content, chance))
            value = twist(value, chance)
        if is_port(member.returns):
            return Faulty(member.returns, value, self._plan)
        return self._nested(value)

    def _nothing_done(self, member: Member, args: tuple[Any, ...]) -> int | None:
        """Return what says that all was done, or a number that says nothing sensible."""
        if member.returns is not int:
            return None
        size = sum(len(a) for a in args if _is_bytes(a))
        return self._plan.chance.choice([size, size, 0, -1, size + 1])

    def _nested(self, value: Any) -> Any:
        """Make faulty what is a port within a dataclass."""
        if not is_dataclass(value) or isinstance(value, type):
            return value
        kind: Any = type(value)
        hints = hints_of(kind)
        ports = {f.name: hints[f.name] for f in fields(value) if is_port(hints[f.name])}
        changes = {
            name: Faulty(port, getattr(value, name), self._plan) for name, port in ports.items()
        }
        return replace(value, **changes) if changes else value


_TWISTS: Final[dict[Fault | None, Callable[[Any, Any], Any]]] = {
    Fault.CORRUPT: corrupted,
    Fault.LIE: other,
    Fault.TEAR: lambda value, _: torn(value),
}


def faulty_world(world: Any, plan: Plan) -> Any:
    """Return a dataclass of ports, such as `World`, with every port of it faulty."""
    kind: Any = type(world)
    hints = hints_of(kind)
    changes: dict[str, Any] = {}
    for field in fields(world):
        hint, value = hints[field.name], getattr(world, field.name)
        if is_port(hint):
            changes[field.name] = Faulty(hint, value, plan)
        elif isinstance(value, tuple) and get_args(hint) and is_port(get_args(hint)[0]):
            changes[field.name] = tuple(Faulty(get_args(hint)[0], each, plan) for each in value)
    return replace(world, **changes)


def writes(member: Member) -> bool:
    """Say whether bytes are handed over to be kept."""
    return any(kind in BYTES for kind in member.takes)


def changes_nothing(member: Member) -> bool:
    """Say whether there is nothing in its answer that could be another."""
    return member.returns in NOTHING and not writes(member)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, BYTES)


def _is_whole(member: Member, value: Any) -> bool:
    return OPEN_FILE not in get_args(member.returns) and torn(value) is None


def _is_skipped(member: Member, blow: Blow | None) -> bool:
    lies = blow is not None and blow.fault is Fault.LIE
    return lies and (writes(member) or member.returns in NOTHING)


def _system_error(member: Member, fault: Fault) -> Exception:
    """Return what a port makes of an errno: its own error if it has one for that, or a bug."""
    error = OSError(ERRNO[fault], f"{member} was struck by the drill ({fault})")
    if not any(issubclass(kind, StoreError) for kind in member.raises):
        return error
    try:
        with store_errors(str(member)):
            raise error
    except StoreError as meant:
        return meant
