"""A TCP relay on loopback that delays what it passes, like a line with a long round trip."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def slow_link(port: int, seconds: float) -> Iterator[int]:
    """Relay to ``port`` of 127.0.0.1, each way ``seconds`` late; yield the port of the relay."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []
    ended = asyncio.Event()

    async def relay() -> None:
        async def connected(near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            far, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pass(near, back, seconds), _pass(far, out, seconds))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await ended.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(relay(),))
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
    """Write what arrives ``seconds`` later, in order."""
    loop = asyncio.get_running_loop()
    waiting = asyncio.Queue[tuple[float, bytes]]()

    async def write() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            target.write(data)
            await target.drain()

    writing = asyncio.create_task(write())
    try:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                waiting.put_nowait((loop.time() + seconds, data))
            waiting.put_nowait((loop.time() + seconds, b""))
            await writing
    finally:
        writing.cancel()
        target.close()
