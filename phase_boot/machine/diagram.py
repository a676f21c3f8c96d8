"""The state diagram, generated from the edges that the running machine has (SPEC D4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from phase_boot.machine.graph import START, TERMINAL, Edge
from phase_boot.machine.guard import Guard


def mermaid(edges: tuple[Edge, ...]) -> str:
    """Return the edges as a Mermaid `stateDiagram-v2`."""
    lines = ["stateDiagram-v2", "    direction LR", f"    [*] --> {START.value}"]
    lines += [f"    {e.source.value} --> {e.target.value}: {e.trigger.value}" for e in edges]
    lines += [f"    {state.value} --> [*]" for state in sorted(TERMINAL)]
    return "\n".join(lines) + "\n"


def dot(edges: tuple[Edge, ...]) -> str:
    """Return the edges as a Graphviz digraph."""
    lines = ["digraph phase_boot {", "    rankdir=LR;", "    node [shape=box, style=rounded];"]
    lines += [f"    {state.value} [peripheries=2];" for state in sorted(TERMINAL)]
    lines += [
        f'    {e.source.value} -> {e.target.value} [label="{e.trigger.value}"];' for e in edges
    ]
    return "\n".join([*lines, "}"]) + "\n"


FORMATS: Final[Mapping[str, Callable[[tuple[Edge, ...]], str]]] = MappingProxyType(
    {"mermaid": mermaid, "dot": dot}
)

PROMELA: Final = "promela"
"""The format of `phase_boot.machine.promela`, which needs the handlers too."""


def draw(form: str) -> str:
    """Return the diagram of the machine in ``form``, one of `FORMATS`."""
    return FORMATS[form](Guard().edges())
