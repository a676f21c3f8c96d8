"""The graph, the state machine that enforces it, and its diagram."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.scenario import OWN_HANDLERS
from phase_boot.machine.diagram import draw
from phase_boot.machine.graph import EDGES, FALLBACK, TERMINAL, State, Trigger, triggers_of
from phase_boot.machine.guard import Guard, UndrawnEdgeError
from phase_boot.machine.handler import Handler

ROOT = Path(__file__).parents[3]


def test_the_transitions_machine_holds_exactly_the_edges_of_the_graph() -> None:
    assert set(Guard().edges()) == set(EDGES)


def test_a_move_that_is_not_drawn_is_refused_and_moves_nothing() -> None:
    guard = Guard()
    with pytest.raises(UndrawnEdgeError, match="init has no edge for jumped"):
        guard.advance(Trigger.JUMPED)
    assert guard.state is State.INIT


def test_every_state_that_can_run_has_the_fallback() -> None:
    assert all(FALLBACK in triggers_of(state) for state in State if state not in TERMINAL)


def test_a_trigger_leads_to_one_place_only() -> None:
    assert len({(edge.source, edge.trigger) for edge in EDGES}) == len(EDGES)


def test_states_that_start_an_image_are_reached_only_through_fetch() -> None:
    assert {e.source for e in EDGES if e.target is State.TARGET} == {State.KEXEC}
    assert {e.source for e in EDGES if e.target is State.FIRMWARE} == {State.CHAINLOAD}
    assert {e.source for e in EDGES if e.target is State.CHAINLOAD} == {State.KEXEC}
    assert {e.source for e in EDGES if e.target is State.KEXEC} == {State.FETCH, State.KEXEC}
    assert {e.source for e in EDGES if e.target is State.FETCH} == {State.VERIFY}


@pytest.mark.parametrize("handler", OWN_HANDLERS, ids=lambda handler: str(handler.state))
def test_a_handlers_docstring_names_its_exits(handler: Handler) -> None:
    documented = set(re.findall(r"(\w+) \((\w+)\)", handler.run.__doc__ or ""))
    promised = handler.leads | {error.way_out for error in handler.raises} | {FALLBACK}
    drawn = {(e.target, e.trigger) for e in EDGES if e.source is handler.state}
    expected = {(str(target), str(t)) for target, t in drawn if t in promised}
    if handler.state is State.SHELL:
        expected -= {("off", "give_up")}
    assert documented == expected


@pytest.mark.parametrize("page", ["docs/states.md", "README.md"])
def test_the_state_diagrams_in_the_pages_match_the_graph(page: str) -> None:
    assert f"```mermaid\n{draw('mermaid')}```" in (ROOT / page).read_text()


def test_the_graph_command_prints_dot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--format", "dot"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("digraph")
    assert out.count("->") == len(EDGES)
