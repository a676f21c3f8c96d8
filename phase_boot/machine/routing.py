"""Which way an error goes: the only reader of `BootError.way_out` at run time."""

from __future__ import annotations

from phase_boot.machine.errors import BootError
from phase_boot.machine.graph import FALLBACK, Trigger


def route(error: BaseException, drawn: frozenset[Trigger]) -> Trigger:
    """Return the trigger that ``error`` asks for, among those ``drawn`` from the state.

    Anything but a `BootError`, and a `BootError` that asks for an edge which is
    not drawn, takes the fallback.
    """
    if isinstance(error, BootError) and error.way_out in drawn:
        return error.way_out
    return FALLBACK
