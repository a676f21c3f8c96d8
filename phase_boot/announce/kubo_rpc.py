"""kubo's RPC API (`/api/v0/`): what a node holds, gets and provides.

A command that fails answers HTTP 500 and JSON with a `Message`. After the first byte of output it
can only end it, so what a command did is read back. https://docs.ipfs.tech/reference/kubo/rpc/
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Final

from phase_boot.adapters.http.client import Client
from phase_boot.adapters.http.exchange import Answer, Request, exchange
from phase_boot.adapters.http.response import OK
from phase_boot.console.lines import printable
from phase_boot.content.cid import Cid
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import below

MAX_EVENTS: Final = 64 * 1024
"""Bytes of an answer: lines of JSON, one of which may hold a record in base64."""
SHOWN: Final = 120
_MAX_WALK: Final = 4 * 1024 * 1024
"""Bytes of an answer that names each node which a search in the DHT asked."""
_PROVIDER: Final = 4
"""Type of the event that names a provider."""
_SERVER_ERROR: Final = 500
_ABSENT: Final = ("not found", "could not find", "is not pinned")
"""Parts of the message about a block that is absent, or that no pin keeps."""
_PIECE_BYTES: Final = 256 * 1024
_READ_RATE: Final = 10_000_000
"""Bytes a second that a node reads at least while it looks through a DAG and says nothing."""


def reading_seconds(size: int) -> float:
    """Return the time that a node may take to look through the DAG of a file of ``size`` bytes."""
    return size / _READ_RATE


class Form:
    """A multipart form with one file (RFC 7578)."""

    def __init__(self) -> None:
        """Choose the boundary."""
        self._boundary = f"phase-boot-{secrets.token_hex(16)}"

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of the request."""
        return {"Content-Type": f"multipart/form-data; boundary={self._boundary}"}

    def body(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the body, in pieces of at least 256 KiB but for the last one."""
        held = bytearray(
            f"--{self._boundary}\r\n"
            'Content-Disposition: form-data; name="file"; filename="file"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
        )
        for piece in file:
            held += piece
            if len(held) >= _PIECE_BYTES:
                yield bytes(held)
                held.clear()
        yield bytes(held) + f"\r\n--{self._boundary}--\r\n".encode()


class KuboRpc:
    """A kubo node, by the base URL of its RPC API.

    Each method raises FetchFailed if the node does not answer in time, or with an error.
    """

    def __init__(self, client: Client, url: str, seconds: float) -> None:
        """Wait ``seconds`` for an answer, or for the node to take the next bytes of a file."""
        self._client = client
        self._url = url
        self._seconds = seconds

    async def has_block(self, cid: Cid) -> bool:
        """Return whether the node holds a block."""
        return await self._is_found(f"block/stat?arg={cid}&offline=true")

    async def has_dag(self, cid: Cid, size: int) -> bool:
        """Return whether the node holds the DAG of a file of ``size`` bytes, which it reads."""
        command = f"dag/stat?arg={cid}&offline=true&progress=false"
        return await self._is_found(command, more_seconds=reading_seconds(size))

    async def has_pinned(self, cid: Cid) -> bool:
        """Return whether a pin keeps a DAG from garbage collection; then the node holds it all."""
        return await self._is_found(f"pin/ls?arg={cid}&type=recursive")

    async def put_block(self, raw: bytes) -> None:
        """Store a raw block and pin it.

        Without a pin, garbage collection removes the block, and the strategies `pinned` and
        `roots` of `Provide.Strategy` do not provide it again.
        """
        await self._run("block/put?cid-codec=raw&pin=true", file=[raw])

    async def import_car(self, car: Generator[bytes, None, None], size: int) -> None:
        """Store the blocks of the CAR of a file of ``size`` bytes as it is iterated, and pin it.

        After the last byte the node reads the whole DAG, and searches the network for blocks that
        it lacks. ``car`` is closed, and its exceptions are raised as they are.
        """
        with closing(car):
            more = reading_seconds(size)
            answer = await self._run("dag/import?pin-roots=true", file=car, more_seconds=more)
        for event in json_lines(answer.body):
            root = event.get("Root")
            if isinstance(root, dict) and (message := root.get("PinErrorMsg")):
                raise FetchFailed(f"it did not pin it: {_shown(str(message))}", retryable=False)

    async def provide(self, cid: Cid) -> None:
        """Put a record into the DHT that the node provides a block which it holds."""
        await self._run(f"routing/provide?arg={cid}", limit=_MAX_WALK)

    async def finds_provider(self, cid: Cid, seconds: float) -> bool:
        """Return whether the DHT names a provider of a block within ``seconds``."""
        request = Request(
            method="POST",
            url=self._command(f"routing/findprovs?arg={cid}&num-providers=1"),
            limit=_MAX_WALK,
            seconds=seconds,
        )
        try:
            answer = await exchange(self._client, request)
        except FetchFailed:
            return False
        events = json_lines(answer.body)
        return any(each.get("Type") == _PROVIDER and each.get("Responses") for each in events)

    def _command(self, command: str) -> str:
        return below(self._url, f"api/v0/{command}")

    async def _is_found(self, command: str, *, more_seconds: float = 0) -> bool:
        answer = await self._send(command, more_seconds=more_seconds)
        if answer.status == _SERVER_ERROR and any(text in reason_of(answer) for text in _ABSENT):
            return False
        _check(answer)
        return True

    async def _run(
        self,
        command: str,
        *,
        file: Iterable[bytes] | None = None,
        limit: int = MAX_EVENTS,
        more_seconds: float = 0,
    ) -> Answer:
        answer = await self._send(command, file=file, limit=limit, more_seconds=more_seconds)
        _check(answer)
        return answer

    async def _send(
        self,
        command: str,
        *,
        file: Iterable[bytes] | None = None,
        limit: int = MAX_EVENTS,
        more_seconds: float = 0,
    ) -> Answer:
        form = Form()
        request = Request(
            method="POST",
            url=self._command(command),
            headers={} if file is None else form.headers,
            body=None if file is None else form.body(file),
            limit=limit,
            seconds=self._seconds + more_seconds,
        )
        return await exchange(self._client, request)


def json_lines(body: bytes) -> Iterator[dict[str, object]]:
    """Yield the JSON objects of a body with one on each line."""
    for line in body.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def reason_of(answer: Answer) -> str:
    """Return the first line of an error, which servers send as text or as kubo's JSON."""
    if answer.status == OK or "html" in answer.kind:
        return ""
    for event in json_lines(answer.body):
        if isinstance(text := event.get("Message"), str):
            return f": {_shown(text)}"
    line = answer.body.decode("utf-8", "replace").strip().partition("\n")[0]
    return f": {_shown(line)}" if line else ""


def _shown(text: str) -> str:
    return printable(text)[:SHOWN]


def _check(answer: Answer) -> None:
    if answer.status != OK:
        reason = f"it answered HTTP {answer.status}{reason_of(answer)}"
        raise FetchFailed(reason, retryable=True)
