"""Generates a Promela model of the machine for spin, from the graph and its handlers (SPEC B12).

States, edges and the moves of each handler come from `graph.EDGES` and from the handlers' `leads`
and `raises`; the pauses come from `retries`. This module adds only the effect of each trigger on
the manifest of the attempt. A manifest is a number from 1; 0 is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from phase_boot.machine.graph import EDGES, FALLBACK, START, TERMINAL, Edge, State, Trigger
from phase_boot.machine.handler import Handler
from phase_boot.machine.retries import Retries, Retry

MANIFESTS: Final = 2
"""Different manifests that candidates may offer."""
CANDIDATES: Final = 2
"""Candidates of one attempt: Discover ends at the limit of the policy."""
CALLS: Final = 2
"""System calls that may load a kernel (`ports.kexec.Method`)."""
MAX_PAUSES: Final = 64

EFFECTS: Final[Mapping[tuple[State, Trigger], str]] = MappingProxyType(
    {
        (State.DISCOVER, Trigger.FOUND): "select(offered : 1 .. MANIFESTS); tried++",
        (State.VERIFY, Trigger.VERIFIED): "verified = offered",
        (State.VERIFY, Trigger.REFUSED): "forget()",
        (State.FETCH, Trigger.FETCHED): "fetched = verified",
        (State.FETCH, Trigger.UNAVAILABLE): "forget()",
        (State.KEXEC, Trigger.JUMPED): "started = fetched",
        (State.KEXEC, Trigger.OTHER_CALL): "calls++",
        (State.CHAINLOAD, Trigger.STAGED): "started = fetched",
        (State.SHELL, Trigger.RETRY): "reset(); at = 0",
        (State.SHELL, Trigger.AUTO_RETRY): "pause(); reset()",
    }
)
"""The effect of a step on the variables of the model; other steps have none."""
GUARDS: Final[Mapping[tuple[State, Trigger], str]] = MappingProxyType(
    {
        (State.DISCOVER, Trigger.FOUND): "tried < CANDIDATES",
        (State.KEXEC, Trigger.OTHER_CALL): "calls < CALLS",
        (State.SHELL, Trigger.RETRY): "choice == c_retry",
        (State.SHELL, Trigger.LEAVE): "choice == c_leave",
        (State.SHELL, Trigger.AUTO_RETRY): "choice == c_none && unattended",
        (State.SHELL, Trigger.GIVE_UP): "choice == c_none && person",
    }
)
"""When a handler takes an edge; other edges may be taken at any time. A person's choice is
followed only by the edge of that choice: a crash does not count as one."""
PROGRESS: Final = frozenset({(State.SHELL, Trigger.RETRY), (State.SHELL, Trigger.AUTO_RETRY)})
"""Steps that a person chose, or that a pause preceded: every cycle must have one of them."""

_HEAD: Final = """\
/* Written by `phase-boot graph --format promela`. Do not edit. */
#define MANIFESTS {manifests}
#define CANDIDATES {candidates}
#define CALLS {calls}
#define LAST {last}

mtype = {{ {states} }};
mtype = {{ c_none, c_retry, c_leave }};

mtype state = s_{start};
mtype choice = c_none;      /* the choice of the person at the Shell */
bool person;              /* whether one is present */
bool unattended;          /* [shell] unattended of the policy */
byte offered, verified, fetched, started;   /* manifests, 0 is none */
byte tried, calls;
int pauses[LAST + 1];     /* tenths of a second */
byte at;                  /* which pause is next */

inline forget() {{ offered = 0; verified = 0; fetched = 0 }}
inline reset() {{ forget(); tried = 0; calls = 0; choice = c_none }}
inline pause() {{
    assert(pauses[at] > 0);
    assert(at == LAST || pauses[at + 1] > pauses[at]);
    if
    :: at < LAST -> at++
    :: else
    fi
}}
"""
_CHOICE: Final = """\
       :: atomic { choice == c_none && person -> choice = c_retry }
       :: atomic { choice == c_none && person -> choice = c_leave }
       :: (choice == c_none && !person && !unattended) -> goto end_waits
"""


def promela(
    handlers: Mapping[State, Handler],
    edges: Sequence[Edge] = EDGES,
    pauses: Sequence[float] | None = None,
) -> str:
    """Return the model.

    Args:
        handlers: the handler of each state; an edge that none declares is never taken.
        edges: the graph.
        pauses: seconds before each automatic retry, the last one repeated; by default those of a
            temporary failure.
    """
    tenths = [round(10 * pause) for pause in pauses or pauses_of(Retry.SOON)]
    lines = [
        _HEAD.format(
            manifests=MANIFESTS,
            candidates=CANDIDATES,
            calls=CALLS,
            last=len(tenths) - 1,
            states=", ".join(f"s_{state.value}" for state in State),
            start=START.value,
        ),
        "active proctype machine() {",
        *(f"    pauses[{n}] = {pause};" for n, pause in enumerate(tenths)),
        "    if :: person = true :: person = false fi;",
        "    if :: unattended = true :: unattended = false fi;",
        "    do",
        *(line for state in State for line in _state(state, handlers, edges)),
        "    od;",
        "end_waits:",
        "    false;",
        "end_over:",
        "    skip",
        "}",
    ]
    return "\n".join(lines) + "\n"


def pauses_of(kind: Retry) -> list[float]:
    """Return the pauses of an unattended machine, without jitter, until they grow no more."""
    retries, pauses = Retries(), list[float]()
    while len(pauses) < MAX_PAUSES:
        pauses.append(retries.pause(kind, 0.0))
        if pauses[-2:-1] == pauses[-1:]:
            return pauses[:-1]
        retries = retries.after(kind, (), early=False, now=0.0)
    raise ValueError(f"the pauses have no bound that is reached within {MAX_PAUSES} retries")


def _state(state: State, handlers: Mapping[State, Handler], edges: Sequence[Edge]) -> Iterator[str]:
    yield f"    :: state == s_{state.value} ->"
    if state in TERMINAL:
        yield f"       {_terminal(state)} /* {state.value} */"
        return
    declared = _declared(handlers[state])
    yield "       if"
    if state is State.SHELL:
        yield _CHOICE.rstrip("\n")
    for number, edge in enumerate(edges):
        if edge.source is state:
            yield f"       {_edge(edge, number, taken=edge.trigger in declared)}"
    yield "       fi"


def _declared(handler: Handler) -> frozenset[Trigger]:
    return handler.leads | {error.way_out for error in handler.raises} | {FALLBACK}


def _terminal(state: State) -> str:
    """Return the assertion of a terminal state: one manifest was offered, verified and started."""
    if state is State.OFF:
        return "goto end_over"
    return (
        "assert(started != 0 && started == fetched && fetched == verified && verified == offered);"
        " goto end_over"
    )


def _edge(edge: Edge, number: int, *, taken: bool) -> str:
    key = (edge.source, edge.trigger)
    guard = GUARDS.get(key, "true") if taken else "false"
    effect = EFFECTS.get(key)
    steps = f"{effect}; " if effect else ""
    if key in PROGRESS:
        steps = f"progress_{number}: skip; {steps}"
    named = f"{edge.source.value} -> {edge.target.value}: {edge.trigger.value}"
    return f":: {guard} -> {steps}state = s_{edge.target.value} /* {named} */"
