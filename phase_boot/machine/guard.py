"""The guard: holds the current state, and moves it only along edges of the graph.

The library `transitions` serves as a checked table of moves. No work runs in its callbacks, and one
task, the driver, fires its triggers (docs/adr/0002-machine.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import transitions

from phase_boot.machine.graph import EDGES, START, Edge, State, Trigger


class UndrawnEdgeError(Exception):
    """The requested move is not in the graph."""


class Guard:
    """The current state of the machine, and the only way to change it."""

    def __init__(self, edges: Sequence[Edge] = EDGES, *, start: State = START) -> None:
        self._machine = transitions.Machine(
            model=None,
            states=[state.value for state in State],
            transitions=[[e.trigger.value, e.source.value, e.target.value] for e in edges],
            initial=start.value,
            auto_transitions=False,
        )
        self._model = _Position()
        self._machine.add_model(self._model, initial=start.value)

    @property
    def state(self) -> State:
        """The state the machine is in."""
        return State(self._model.state)

    def allows(self, trigger: Trigger) -> bool:
        """Return whether ``trigger`` is drawn from the current state."""
        return trigger.value in self._machine.get_triggers(self.state.value)

    def advance(self, trigger: Trigger) -> State:
        """Follow ``trigger`` and return the new state.

        Raises:
            UndrawnEdgeError: the graph has no such edge; the state is unchanged.
        """
        source = self.state
        try:
            self._machine.events[trigger.value].trigger(self._model)
        except (transitions.MachineError, KeyError) as error:
            message = f"{source.value} has no edge for {trigger.value}"
            raise UndrawnEdgeError(message) from error
        return self.state

    def edges(self) -> tuple[Edge, ...]:
        """Return the edges as the `transitions` machine holds them (SPEC D4)."""
        drawn: set[Edge] = set()
        for name, event in self._machine.events.items():
            for source, moves in event.transitions.items():
                drawn.update(Edge(State(source), Trigger(name), State(str(m.dest))) for m in moves)
        return tuple(sorted(drawn, key=_drawing_order))


class _Position:
    """The model of `transitions`: only a state, and no trigger methods."""

    state: str = START.value


def _drawing_order(edge: Edge) -> tuple[int, int]:
    states, triggers = list(State), list(Trigger)
    return states.index(edge.source), triggers.index(edge.trigger)
