"""A proxy for any port that injects the faults of a plan.

`Faulty(port, target, plan)` forwards each call to ``target`` unless the plan has a fault for it.
The proxy reads the port's Protocol (`members`), so it covers a new method without a change here.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import Any, Final, get_args

from phase_boot.drill.injection import DATE_JUMP, SUSPENSION_SECONDS, Fault, FaultKind, Plan
from phase_boot.drill.members import Kind, Member, hints_of, is_port, members_of
from phase_boot.drill.mutate import descriptor_of, flip, replace_all, truncate
from phase_boot.drill.virtual_time import FOR_EVER, ThreadHangs
from phase_boot.store.disk import OPEN_FILE
from phase_boot.store.errors import StoreError, store_errors

ERRNO: Final = {
    FaultKind.NO_SPACE: errno.ENOSPC,
    FaultKind.IO_ERROR: errno.EIO,
    FaultKind.TEAR: errno.EIO,
}
NOTHING: Final = (None, NoneType)
BYTES: Final = (bytes, bytearray, memoryview)


class Faulty:
    """Forwards calls to ``target`` and injects the faults of the plan.

    A port that ``target`` returns, by itself or in a dataclass, is wrapped too.
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

    def _call(self, member: Member, target: Callable[..., Any], args: Any, named: Any) -> Any:
        fault = self._fault_now(member)
        if fault is not None and fault.kind is FaultKind.HANG:
            raise ThreadHangs
        if _is_skipped(member, fault):
            return self._nothing_done(member, args)
        return self._result(
            member, fault, target(*self._passed_arguments(member, fault, args), **named)
        )

    async def _await(
        self, member: Member, target: Callable[..., Any], args: Any, named: Any
    ) -> Any:
        fault = self._fault_now(member)
        if fault is not None and fault.kind in {FaultKind.HANG, FaultKind.CANCEL}:
            await asyncio.sleep(FOR_EVER)
        if _is_skipped(member, fault):
            return self._nothing_done(member, args)
        return self._result(
            member, fault, await target(*self._passed_arguments(member, fault, args), **named)
        )

    async def _stream(
        self, member: Member, target: Callable[..., Any], args: Any, named: Any
    ) -> AsyncGenerator[Any, None]:
        fault = self._plan.inject(member)
        # The number of pieces before the fault.
        after = fault.which if fault and fault.kind is not FaultKind.REFUSE else 0
        self._plan.streams += 1
        try:
            async with aclosing(target(*args, **named)) as pieces:
                number = 0
                async for piece in pieces:
                    if (
                        fault is not None
                        and number == after
                        and await self._inject_between(member, fault)
                    ):
                        return
                    number += 1
                    yield self._mutated(fault, piece)
                if fault is not None and number <= after:
                    await self._inject_between(member, fault)
        finally:
            self._plan.streams -= 1

    def _mutated(self, fault: Fault | None, piece: Any) -> Any:
        mutate = _MUTATIONS.get(fault.kind) if fault and fault.kind is not FaultKind.TEAR else None
        return mutate(piece, self._plan.chance) if mutate else piece

    async def _inject_between(self, member: Member, fault: Fault) -> bool:
        """Inject a fault between two pieces; say whether the stream ends without an error."""
        self._apply(member, fault)
        if fault.kind in {FaultKind.HANG, FaultKind.CANCEL}:
            await asyncio.sleep(FOR_EVER)
        return fault.kind is FaultKind.TEAR

    def _fault_now(self, member: Member) -> Fault | None:
        fault = self._plan.inject(member)
        if fault is not None:
            self._apply(member, fault)
        return fault

    def _apply(self, member: Member, fault: Fault) -> None:
        """Inject a fault that needs no result: raise, set the clock, or cancel the run."""
        match fault.kind:
            case FaultKind.REFUSE:
                # A local variable would keep the exception, its frames and what they hold, such as
                # an open file, until the next garbage collection.
                raise member.refusals()[fault.which]()  # noqa: RSE102 - a function, not a class
            case FaultKind.NO_SPACE | FaultKind.IO_ERROR:
                raise _system_error(member, fault.kind)
            case FaultKind.CLOCK_AHEAD:
                self._plan.clock.jump(DATE_JUMP, suspended=SUSPENSION_SECONDS)
            case FaultKind.CLOCK_BACK:
                self._plan.clock.jump(-DATE_JUMP)
            case FaultKind.CANCEL:
                self._plan.cancel()
            case _:
                pass

    def _passed_arguments(
        self, member: Member, fault: Fault | None, args: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Return the arguments that reach the target."""
        if fault is None or not writes(member):
            return args
        if fault.kind is FaultKind.CORRUPT:
            return tuple(flip(a, self._plan.chance) if _is_bytes(a) else a for a in args)
        if fault.kind is FaultKind.TEAR:
            return tuple(truncate(a) if _is_bytes(a) else a for a in args)
        return args

    def _result(self, member: Member, fault: Fault | None, value: Any) -> Any:
        """Return what the caller gets instead of ``value``."""
        kind = fault.kind if fault is not None else None
        if kind is FaultKind.TEAR and (writes(member) or _is_whole(member, value)):
            raise _system_error(member, FaultKind.TEAR)
        if kind in _MUTATIONS and not writes(member):
            mutate, chance = _MUTATIONS[kind], self._plan.chance
            if OPEN_FILE in get_args(member.returns):
                return descriptor_of(value, lambda content: mutate(content, chance))
            value = mutate(value, chance)
        if is_port(member.returns):
            return Faulty(member.returns, value, self._plan)
        return self._nested(value)

    def _nothing_done(self, member: Member, args: tuple[Any, ...]) -> int | None:
        """Return a result that reports success, or a length that makes no sense."""
        if member.returns is not int:
            return None
        size = sum(len(a) for a in args if _is_bytes(a))
        return self._plan.chance.choice([size, size, 0, -1, size + 1])

    def _nested(self, value: Any) -> Any:
        """Wrap the ports within a dataclass."""
        if not is_dataclass(value) or isinstance(value, type):
            return value
        kind: Any = type(value)
        hints = hints_of(kind)
        ports = {f.name: hints[f.name] for f in fields(value) if is_port(hints[f.name])}
        changes = {
            name: Faulty(port, getattr(value, name), self._plan) for name, port in ports.items()
        }
        return replace(value, **changes) if changes else value


_MUTATIONS: Final[dict[FaultKind | None, Callable[[Any, Any], Any]]] = {
    FaultKind.CORRUPT: flip,
    FaultKind.LIE: replace_all,
    FaultKind.TEAR: lambda value, _: truncate(value),
}


def faulty_ports(ports: Any, plan: Plan) -> Any:
    """Return a dataclass of ports, such as `Ports`, with each port wrapped."""
    kind: Any = type(ports)
    hints = hints_of(kind)
    changes: dict[str, Any] = {}
    for field in fields(ports):
        hint, value = hints[field.name], getattr(ports, field.name)
        if is_port(hint):
            changes[field.name] = Faulty(hint, value, plan)
        elif isinstance(value, tuple) and get_args(hint) and is_port(get_args(hint)[0]):
            changes[field.name] = tuple(Faulty(get_args(hint)[0], each, plan) for each in value)
    return replace(ports, **changes)


def writes(member: Member) -> bool:
    """Say whether the member takes bytes to store."""
    return any(kind in BYTES for kind in member.takes)


def changes_nothing(member: Member) -> bool:
    """Say whether the member returns nothing and stores nothing, so that nothing can be corrupt."""
    return member.returns in NOTHING and not writes(member)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, BYTES)


def _is_whole(member: Member, value: Any) -> bool:
    return OPEN_FILE not in get_args(member.returns) and truncate(value) is None


def _is_skipped(member: Member, fault: Fault | None) -> bool:
    lies = fault is not None and fault.kind is FaultKind.LIE
    return lies and (writes(member) or member.returns in NOTHING)


def _system_error(member: Member, kind: FaultKind) -> Exception:
    """Return the port's own error for an errno, or a bare OSError where it documents none."""
    error = OSError(ERRNO[kind], f"{member} fails in the drill ({kind})")
    if not any(issubclass(kind, StoreError) for kind in member.raises):
        return error
    try:
        with store_errors(str(member)):
            raise error
    except StoreError as meant:
        return meant
