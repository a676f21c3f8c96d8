"""Finding the states: entry points in, a total and unique map out (SPEC D2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final

from phase_boot.machine.graph import TERMINAL, State
from phase_boot.machine.handler import Handler

GROUP: Final = "phase_boot.states"
OWN: Final = "phase-boot"
"""The distribution whose handlers any other may replace."""


class RegistryError(Exception):
    """The handlers found do not cover the graph exactly once; the text names the plugin."""


def installed_handlers() -> Mapping[State, Handler]:
    """Load the handlers that this Python installation offers.

    A third party replaces a handler by offering an entry point of the same name.

    Raises:
        RegistryError: one is missing, doubled, broken, or not a handler.
    """
    return total(load(point) for point in chosen(metadata.entry_points(group=GROUP)))


def total(handlers: Iterable[Handler]) -> Mapping[State, Handler]:
    """Return ``handlers`` by state.

    Raises:
        RegistryError: a state that can run has no handler or two, or a handler
            claims a terminal state.
    """
    found: dict[State, Handler] = {}
    for handler in handlers:
        if handler.state in found:
            raise RegistryError(f"the state {handler.state} has two handlers; remove one plugin")
        found[handler.state] = handler
    missing = [state for state in State if state not in TERMINAL and state not in found]
    if missing:
        raise RegistryError(f"no handler for {', '.join(missing)}; reinstall phase-boot")
    if claimed := sorted(TERMINAL & found.keys()):
        raise RegistryError(f"{', '.join(claimed)} is an end and takes no handler")
    return found


def chosen(points: Iterable[metadata.EntryPoint]) -> list[metadata.EntryPoint]:
    """Return the points to load: somebody else's instead of ours where both name a state."""
    unique = {(p.name, p.value, _owner(p)): p for p in points}.values()
    others = {point.name for point in unique if _owner(point) != OWN}
    return [point for point in unique if _owner(point) != OWN or point.name not in others]


def _owner(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def load(point: metadata.EntryPoint) -> Handler:
    """Return the handler that ``point`` names.

    Raises:
        RegistryError: it cannot be imported, is none, or handles another state.
    """
    try:
        handler = point.load()
    except Exception as error:
        raise RegistryError(f"the plugin {point.value} cannot be loaded: {error}") from error
    if not isinstance(handler, Handler):
        raise RegistryError(f"the plugin {point.value} is not a Handler")
    if handler.state.value != point.name:
        raise RegistryError(f"the plugin {point.value} handles {handler.state}, not {point.name}")
    return handler
