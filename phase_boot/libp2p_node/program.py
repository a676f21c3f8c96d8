"""The program of the process: requests on its standard input, answers on its standard output.

Both are JSON lines. A request is ``{"id", "op", …}``. Its answers repeat the id; the last of them
has ``end``, an object with what there is to say about the whole request, and ``error`` in it where
the request failed. ``{"id", "op": "cancel"}`` ends the request of that id. The end of the input
ends the process.

Requests run at the same time, and share the host and its connections.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import trio

from phase_boot.libp2p_node.host import Node, running_node

MAX_LINE: Final = 65_536
"""Bytes of the longest request."""
MAX_AT_ONCE: Final = 256
"""Requests that run at the same time."""
Fields = Mapping[str, Any]
"""The fields of a request: the parent is trusted."""
Answer = Callable[[Mapping[str, object]], Awaitable[None]]
"""Sends one answer to a request; the id is added."""


class RequestFailed(Exception):
    """A request cannot be served; the text says why."""


class Operation(Protocol):
    """Serves the requests of one ``op``."""

    async def __call__(self, node: Node, request: Fields, answer: Answer) -> Mapping[str, object]:
        """Answer a request, and return what its end says.

        Raises:
            RequestFailed: the request cannot be served.
        """


class Input(Protocol):
    """Where requests come from."""

    async def receive_some(self, most: int, /) -> bytes | bytearray:
        """Return bytes, or none at the end."""


class Output(Protocol):
    """Where answers go."""

    async def send_all(self, data: bytes, /) -> None:
        """Write all of ``data``."""


async def run(source: Input, output: Output, operations: Mapping[str, Operation]) -> None:
    """Serve requests until the end of ``source``."""
    async with running_node() as node:
        await _Program(node, output, operations).serve(source)


class _Program:
    """The requests that run, and the one writer of answers."""

    def __init__(self, node: Node, output: Output, operations: Mapping[str, Operation]) -> None:
        self._node = node
        self._output = output
        self._operations = operations
        self._writing = trio.Lock()
        self._running: dict[object, trio.CancelScope] = {}

    async def serve(self, source: Input) -> None:
        async with trio.open_nursery() as nursery:
            async for line in _lines(source):
                request = json.loads(line)
                name = request["id"]
                if request["op"] == "cancel":
                    if name in self._running:
                        self._running[name].cancel()
                elif len(self._running) >= MAX_AT_ONCE:
                    await self._write({"id": name, "end": {"error": "too many requests at once"}})
                else:
                    scope = self._running[name] = trio.CancelScope()
                    nursery.start_soon(self._serve_one, request, scope)
            nursery.cancel_scope.cancel()

    async def _serve_one(self, request: Fields, scope: trio.CancelScope) -> None:
        name = request["id"]

        async def answer(content: Mapping[str, object]) -> None:
            await self._write({"id": name, **content})

        end: Mapping[str, object] = {"error": "it was cancelled"}
        operation = self._operations.get(request["op"], _unknown)
        try:
            with scope:
                end = await operation(self._node, request, answer)
        except RequestFailed as failure:
            end = {"error": str(failure)}
        finally:
            del self._running[name]
        await answer({"end": end})

    async def _write(self, content: Mapping[str, object]) -> None:
        line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        async with self._writing:
            # Half a line would make the rest of the output unreadable.
            with trio.CancelScope(shield=True):
                await self._output.send_all(line)


async def _unknown(node: Node, request: Fields, answer: Answer) -> Mapping[str, object]:  # noqa: ARG001 - an Operation
    raise RequestFailed(f"there is no operation {request['op']}")


async def _lines(source: Input) -> AsyncGenerator[bytes, None]:
    """Yield each line; raise ValueError at one that is longer than MAX_LINE."""
    rest = b""
    while piece := await source.receive_some(MAX_LINE):
        *lines, rest = (rest + bytes(piece)).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE:
            raise ValueError("a request is too long")
