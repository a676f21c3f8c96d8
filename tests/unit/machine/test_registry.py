"""Handlers by entry point: missing ones, duplicates, and plugins."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from phase_boot.drill.scenario import OWN_HANDLERS
from phase_boot.machine.boot import BootContext
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.registry import (
    GROUP,
    RegistryError,
    chosen,
    installed_handlers,
    load,
    total,
)


async def nothing(_world: Ports, boot: BootContext) -> Step:
    return Step(Trigger.FOUND, boot)


def test_the_installed_package_offers_every_state_once() -> None:
    assert {h.state for h in installed_handlers().values()} == {h.state for h in OWN_HANDLERS}


def test_a_missing_handler_is_refused_and_named() -> None:
    with pytest.raises(RegistryError, match="no handler for fetch"):
        total(handler for handler in OWN_HANDLERS if handler.state is not State.FETCH)


def test_two_handlers_for_one_state_are_refused_and_named() -> None:
    with pytest.raises(RegistryError, match="init has two handlers"):
        total([*OWN_HANDLERS, OWN_HANDLERS[0]])


def test_a_handler_along_an_edge_that_does_not_exist_is_refused_and_named() -> None:
    with pytest.raises(ValueError, match="handler of discover has no edge for jumped"):
        Handler(state=State.DISCOVER, run=nothing, leads=frozenset({Trigger.JUMPED}), budget=1)


def test_a_handler_for_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="no edge"):
        Handler(state=State.TARGET, run=nothing, leads=frozenset({Trigger.FOUND}), budget=1)


@pytest.mark.parametrize("budget", [0, -1, float("nan")])
def test_a_handler_without_time_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="no time"):
        Handler(state=State.DISCOVER, run=nothing, leads=frozenset({Trigger.FOUND}), budget=budget)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("states.nowhere:HANDLER", "cannot be loaded"),
        ("states.init:init", "is not a Handler"),
        ("states.init:HANDLER", "handles init, not fetch"),
    ],
)
def test_a_plugin_of_the_wrong_type_is_refused_and_named(value: str, reason: str) -> None:
    with pytest.raises(RegistryError, match=reason) as caught:
        load(metadata.EntryPoint("fetch", value, GROUP))
    assert value in str(caught.value)


def test_a_plugin_replaces_our_handler() -> None:
    own = [point for point in metadata.entry_points(group=GROUP) if point.name == "discover"]
    other = metadata.EntryPoint("discover", "elsewhere:HANDLER", GROUP)
    assert chosen([*own, other]) == [other]


class Distribution(metadata.Distribution):
    """A plugin's distribution that is not installed."""

    def __init__(self, name: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Any:
        raise FileNotFoundError(path)


def point_of(name: str, value: str) -> metadata.EntryPoint:
    point = metadata.EntryPoint("discover", value, GROUP)
    vars(point).update(dist=Distribution(name))
    return point


def test_two_plugins_for_one_state_are_both_named_with_their_distributions() -> None:
    own = [point for point in metadata.entry_points(group=GROUP) if point.name == "discover"]
    with pytest.raises(RegistryError) as caught:
        chosen([*own, point_of("alpha", "one:HANDLER"), point_of("beta", "two:HANDLER")])
    assert str(caught.value) == (
        "the state discover has 2 handlers, one:HANDLER of alpha and two:HANDLER of beta: "
        "uninstall all but one"
    )


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise SystemExit", "SystemExit"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_ends_the_process_when_imported_is_refused_and_named(
    deed: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving.py").write_text(deed)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "leaving", raising=False)
    with pytest.raises(RegistryError) as caught:
        load(metadata.EntryPoint("fetch", "leaving:HANDLER", GROUP))
    assert str(caught.value) == f"the plugin leaving:HANDLER cannot be loaded: {message}"
