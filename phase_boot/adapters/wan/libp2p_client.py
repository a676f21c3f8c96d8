"""The parent's side of the process that speaks libp2p (`phase_boot.libp2p_node`).

Peers may have taken the process over, so it is believed no more than they are: its lines are
bounded in length and number, its silence in time, and a line that is no answer ends it. It starts
with the first request. If it ends by itself it is started once more.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from phase_boot.ports.dht import DhtFailed, DhtPeer, DhtRecord
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import MAX_RECORD

MAX_LINE: Final = 3 * 1024 * 1024
"""Bytes of the longest answer: a block of 2 MiB in base64."""
MAX_ANSWERS: Final = 1024
"""Answers to one look-up."""
MAX_QUEUED: Final = 64
"""Answers of one request that wait to be read; the process waits while there are more."""
MAX_ADDRESS: Final = 512
"""Characters of a peer's address."""
STARTS: Final = 2
REPLY_SECONDS: Final = 40.0
"""Longest silence: on a slow machine the process takes 10 s until it takes requests."""
STOP_SECONDS: Final = 5.0


class _Ended(DhtFailed):
    """The process ended by itself."""


def command(user: int | None) -> tuple[str, ...]:
    """Return the command line of the process, with the modules of this one.

    ``user`` is the user and group id that it takes if this process is root; None keeps them.
    """
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from phase_boot.libp2p_node.__main__ import main; main()"
    )
    words = () if user is None else (str(user),)
    # Isolated, as the launchers of the seed are, and without writing bytecode.
    return (sys.executable, "-I", "-S", "-B", "-c", program, *words)


_Answers = asyncio.Queue[Mapping[str, Any] | DhtFailed]
"""Answers to one request; a failure is the last."""


class Libp2pClient:
    """Implements `ports.dht.Dht`."""

    def __init__(
        self, words: Sequence[str] | None = None, *, reply_seconds: float = REPLY_SECONDS
    ) -> None:
        """Take the command line of the process; without one that of this user."""
        self._words = tuple(words or command(None))
        self._reply_seconds = reply_seconds
        self._starts = STARTS
        self._numbers = itertools.count(1)
        self._highest = 0
        self._open: dict[int, _Answers] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def records(
        self, name: IpnsName, bootstrap: tuple[str, ...], seconds: float
    ) -> AsyncGenerator[DhtPeer | DhtRecord, None]:
        """Yield what peers answer; see the port."""
        fields = {"name": str(name), "bootstrap": bootstrap, "seconds": seconds}
        try:
            async with aclosing(self._found("record", fields)) as found:
                async for each in found:
                    yield each
        except _Ended:
            async with aclosing(self._found("record", fields)) as found:
                async for each in found:
                    yield each

    async def _found(
        self, operation: str, fields: Mapping[str, object]
    ) -> AsyncGenerator[DhtPeer | DhtRecord, None]:
        async with aclosing(self.request(operation, fields)) as answers:
            async for answer in answers:
                found = _read_answer(answer)
                if found is not None:
                    yield found

    async def request(
        self, operation: str, fields: Mapping[str, object], *, answers: int = MAX_ANSWERS
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Send a request and yield its answers, ``answers`` at most; closing it cancels it.

        Raises:
            DhtFailed: the process cannot be started, hangs or breaks the protocol, or the
                request failed.
        """
        await self._start()
        number = self._highest = next(self._numbers)
        queue = self._open[number] = asyncio.Queue(MAX_QUEUED)
        ended = False
        try:
            await self._send({"id": number, "op": operation, **fields})
            for _ in range(answers):
                async with asyncio.timeout(self._reply_seconds):
                    answer = await queue.get()
                if isinstance(answer, DhtFailed):
                    ended = True
                    raise answer
                if "end" in answer:
                    ended = True
                    _check_end(answer["end"])
                    return
                yield answer
            raise DhtFailed(f"it sent more than {answers} answers")
        except TimeoutError:
            await self.stop()
            raise DhtFailed(f"it gave no answer for {self._reply_seconds:g} seconds") from None
        finally:
            del self._open[number]
            if not ended:
                self._cancel(number, queue)

    async def stop(self) -> None:
        """Kill the process and wait for its exit; requests that run fail."""
        process, reading = self._process, self._reading
        self._process = self._reading = None
        self._fail(DhtFailed("the process that speaks libp2p was stopped"))
        if process is None or reading is None:
            return
        _kill(process)
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.wait({reading}, timeout=STOP_SECONDS)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()

    def _fail(self, failure: DhtFailed) -> None:
        """End every request that runs."""
        for queue in self._open.values():
            while queue.full():
                queue.get_nowait()
            queue.put_nowait(failure)

    async def _start(self) -> None:
        """Start the process unless it runs."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            await self.stop()
            if importlib.util.find_spec("libp2p") is None:
                raise DhtFailed("libp2p is not installed, so no DHT is asked: install it by pip")
            if not self._starts:
                raise DhtFailed(f"the process that speaks libp2p ended {STARTS} times")
            self._starts -= 1
            try:
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._words,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    limit=MAX_LINE,
                    cwd="/",
                    env={},
                )
            except OSError as error:
                reason = f"the process that speaks libp2p cannot be started: {error.strerror}"
                raise DhtFailed(reason) from error
            self._reading = asyncio.create_task(self._read(process), name="answers of libp2p")

    async def _send(self, request: Mapping[str, object]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise _Ended("the process that speaks libp2p has ended")
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            async with asyncio.timeout(self._reply_seconds):
                await process.stdin.drain()
        except OSError as error:
            raise _Ended("the process that speaks libp2p has ended") from error

    def _cancel(self, number: int, queue: _Answers) -> None:
        """Tell the process that a request is not needed any more."""
        # A reader that waits for room in the queue goes on.
        while not queue.empty():
            queue.get_nowait()
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(json.dumps({"id": number, "op": "cancel"}).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Pass each line to its request, until the output ends or has an invalid line."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            while line := await process.stdout.readline():
                answer = json.loads(line)
                number = answer["id"]
                if not isinstance(number, int) or not 0 < number <= self._highest:
                    break
                queue = self._open.get(number)
                if queue is not None:
                    await queue.put(answer)
        except (ValueError, RecursionError, KeyError, TypeError, OSError):
            # A line that is too long is a ValueError too.
            pass
        finally:
            _kill(process)
            await process.wait()
            self._fail(_Ended("the process that speaks libp2p ended by itself"))


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process unless it has ended.

    Not by `Process.kill`, which collects the status of a process that is ending: the event loop
    then reports an unknown child.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _check_end(end: object) -> None:
    """Raise DhtFailed if a request failed, or ``end`` is no end."""
    error = end.get("error") if isinstance(end, dict) else "it sent no end"
    if error is not None:
        raise DhtFailed(str(error)[:MAX_ADDRESS])


def _read_answer(answer: Mapping[str, Any]) -> DhtPeer | DhtRecord | None:
    """Return what an answer names; None if it is nothing that is used."""
    match answer:
        case {"answered": str() as address} if len(address) <= MAX_ADDRESS:
            return DhtPeer(address)
        case {"record": str() as text} if len(text) <= 2 * MAX_RECORD:
            try:
                return DhtRecord(base64.b64decode(text, validate=True))
            except ValueError:
                return None
        case _:
            return None
