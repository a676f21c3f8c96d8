"""What spin proves of the machine, and that it finds each wrong edge that is planted.

Needs spin and gcc: `make setup` installs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.scenario import OWN_HANDLERS
from phase_boot.machine.graph import EDGES, Edge, State, Trigger
from phase_boot.machine.handler import Handler
from phase_boot.machine.promela import pauses_of, promela
from phase_boot.machine.registry import total
from phase_boot.machine.retries import Retry
from tests.model.spin import Verdict, check, missing

if missing() and not os.environ.get("CI"):
    pytest.skip(f"install {' and '.join(missing())}: make setup", allow_module_level=True)

HANDLERS = total(OWN_HANDLERS)
Judge = Callable[..., Verdict]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    def judged(
        *planted: Edge,
        without: tuple[tuple[State, Trigger], ...] = (),
        pauses: tuple[float, ...] | None = None,
    ) -> Verdict:
        kept = [edge for edge in EDGES if (edge.source, edge.trigger) not in without]
        promises = {
            state: _promising(handler, [e for e in planted if e.source is state])
            for state, handler in HANDLERS.items()
        }
        return check(promela(promises, (*kept, *planted), pauses), tmp_path)

    return judged


def _promising(handler: Handler, planted: list[Edge]) -> Handler:
    """Return the handler as one that takes the planted edges too."""
    promised = replace(handler)
    # What the handler checks of itself is what is planted against.
    object.__setattr__(promised, "leads", handler.leads | {edge.trigger for edge in planted})
    return promised


def test_the_model_holds_its_properties_in_every_run(judge: Judge) -> None:
    verdict = judge()
    assert verdict.errors == ()
    assert verdict.dead == ()
    assert verdict.states > 1000


def test_the_command_prints_the_model_that_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--format", "promela"]) == 0
    assert capsys.readouterr().out == promela(HANDLERS)


@pytest.mark.parametrize(
    "edge",
    [
        Edge(State.DISCOVER, Trigger.FETCHED, State.KEXEC),
        Edge(State.DISCOVER, Trigger.VERIFIED, State.FETCH),
        Edge(State.VERIFY, Trigger.FETCHED, State.KEXEC),
        Edge(State.VERIFY, Trigger.JUMPED, State.TARGET),
        Edge(State.FETCH, Trigger.STAGED, State.FIRMWARE),
        Edge(State.FETCH, Trigger.JUMPED, State.KEXEC),
        Edge(State.INIT, Trigger.FETCHED, State.KEXEC),
        Edge(State.SHELL, Trigger.RETRY, State.KEXEC),
        Edge(State.SHELL, Trigger.JUMPED, State.TARGET),
        Edge(State.SHELL, Trigger.AUTO_RETRY, State.CHAINLOAD),
    ],
    ids=lambda edge: f"{edge.source}-{edge.trigger}-{edge.target}",
)
def test_an_edge_past_verify_or_fetch_is_found(judge: Judge, edge: Edge) -> None:
    errors = judge(edge).errors
    assert any("assertion violated" in error or "non-progress" in error for error in errors)


@pytest.mark.parametrize(
    "edge",
    [
        Edge(State.NET_UP, Trigger.RETRY, State.INIT),
        Edge(State.VERIFY, Trigger.RETRY, State.VERIFY),
        Edge(State.FETCH, Trigger.RETRY, State.VERIFY),
        Edge(State.CHAINLOAD, Trigger.NOT_LOADED, State.KEXEC),
        Edge(State.SHELL, Trigger.CONFIGURED, State.SHELL),
        Edge(State.SHELL, Trigger.CONFIGURED, State.INIT),
    ],
    ids=lambda edge: f"{edge.source}-{edge.target}",
)
def test_a_cycle_without_a_pause_or_a_person_is_found(judge: Judge, edge: Edge) -> None:
    assert "non-progress cycle" in " ".join(judge(edge).errors)


@pytest.mark.parametrize(
    "without",
    [
        ((State.SHELL, Trigger.RETRY), (State.SHELL, Trigger.LEAVE)),
        ((State.SHELL, Trigger.RETRY),),
        ((State.SHELL, Trigger.LEAVE),),
        ((State.SHELL, Trigger.AUTO_RETRY),),
        (
            (State.SHELL, Trigger.RETRY),
            (State.SHELL, Trigger.AUTO_RETRY),
            (State.SHELL, Trigger.LEAVE),
            (State.SHELL, Trigger.GIVE_UP),
        ),
    ],
    ids=lambda without: "-".join(trigger for _, trigger in without),
)
def test_a_shell_without_an_exit_is_found(
    judge: Judge, without: tuple[tuple[State, Trigger], ...]
) -> None:
    assert "invalid end state" in " ".join(judge(without=without).errors)


@pytest.mark.parametrize("pauses", [(5.0, 5.0, 300.0), (0.0, 5.0), (5.0, 10.0, 7.0), (0.0,)])
def test_a_retry_whose_pause_does_not_grow_is_found(
    judge: Judge, pauses: tuple[float, ...]
) -> None:
    assert "assertion violated" in " ".join(judge(pauses=pauses).errors)


def test_a_state_that_no_run_reaches_is_named(judge: Judge) -> None:
    verdict = judge(without=((State.KEXEC, Trigger.NOT_LOADED),))
    assert verdict.errors == ()
    assert "firmware" in verdict.dead
    assert "chainload -> firmware: staged" in verdict.dead


def test_an_edge_that_no_handler_takes_is_named(tmp_path: Path) -> None:
    edge = Edge(State.INIT, Trigger.LINKED, State.DISCOVER)
    assert check(promela(HANDLERS, (*EDGES, edge)), tmp_path).dead == ("init -> discover: linked",)


@pytest.mark.parametrize("kind", list(Retry))
def test_the_pauses_of_every_kind_of_failure_reach_their_bound(kind: Retry, judge: Judge) -> None:
    assert judge(pauses=tuple(pauses_of(kind))).holds
