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
    """Return the points to load: another distribution's instead of ours where both name a state.

    Raises:
        RegistryError: two points of other distributions name one state.
    """
    by_name: dict[str, list[metadata.EntryPoint]] = {}
    for point in points:
        by_name.setdefault(point.name, []).append(point)
    return [point for named in by_name.values() for point in _preferred(named)]


def _preferred(named: list[metadata.EntryPoint]) -> list[metadata.EntryPoint]:
    """Return another distribution's point where there is one.

    Raises:
        RegistryError: two are left; the text names both and their distributions.
    """
    if len(named) == 1:
        # Whose it is stands in a file that takes an e-mail parser to read: not on every boot.
        return named
    unique = {(point.value, _owner(point)): point for point in named}
    others = [point for (_, owner), point in unique.items() if owner != OWN]
    left = others or list(unique.values())
    if len(left) > 1:
        names = " and ".join(sorted(f"{point.value} of {_owner(point)}" for point in left))
        raise RegistryError(
            f"the state {left[0].name} has {len(left)} handlers, {names}: uninstall all but one"
        )
    return left


def _owner(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown distribution"


def load(point: metadata.EntryPoint) -> Handler:
    """Return the handler that ``point`` names.

    Raises:
        RegistryError: it cannot be imported, is none, or handles another state.
    """
    try:
        handler = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A plugin may call sys.exit when it is imported.
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise RegistryError(f"the plugin {point.value} cannot be loaded: {cause}") from error
    if not isinstance(handler, Handler):
        raise RegistryError(f"the plugin {point.value} is not a Handler")
    if handler.state.value != point.name:
        raise RegistryError(f"the plugin {point.value} handles {handler.state}, not {point.name}")
    return handler
