"""The registry: loads the handlers from entry points, exactly one for each state (SPEC D2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final

from phase_boot.machine.graph import TERMINAL, State
from phase_boot.machine.handler import Handler

GROUP: Final = "phase_boot.states"
OWN: Final = "phase-boot"
"""The distribution whose handlers another distribution may replace."""


class RegistryError(Exception):
    """The handlers do not cover each state exactly once; the text names the plugin."""


def installed_handlers() -> Mapping[State, Handler]:
    """Load the installed handlers.

    A third party replaces a handler by an entry point of the same name.

    Raises:
        RegistryError: one is missing, duplicate, broken, or not a handler.
    """
    return total(load(point) for point in chosen(metadata.entry_points(group=GROUP)))


def total(handlers: Iterable[Handler]) -> Mapping[State, Handler]:
    """Return ``handlers`` by state.

    Raises:
        RegistryError: a state has no handler or two, or a handler is for a terminal state.
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
    """Return the points to load; a point of another distribution replaces the own one of its state.

    Raises:
        RegistryError: two other distributions have a point for one state.
    """
    by_name: dict[str, list[metadata.EntryPoint]] = {}
    for point in points:
        by_name.setdefault(point.name, []).append(point)
    return [point for named in by_name.values() for point in _preferred(named)]


def _preferred(named: list[metadata.EntryPoint]) -> list[metadata.EntryPoint]:
    """Return the point of another distribution, if there is one.

    Raises:
        RegistryError: two are left; the text names both and their distributions.
    """
    if len(named) == 1:
        # The owner is in a file that needs an e-mail parser, which is slow to import on each boot.
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
        RegistryError: it cannot be imported, is no handler, or handles another state.
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
