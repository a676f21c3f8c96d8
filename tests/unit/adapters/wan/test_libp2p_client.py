"""The parent of the process that speaks libp2p, whatever that process does."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from phase_boot.adapters.wan.libp2p_client import MAX_ANSWERS, MAX_LINE, Libp2pClient
from phase_boot.drill.sample_record import ANNOUNCER, record
from phase_boot.ports.dht import DhtFailed, DhtPeer, DhtRecord
from phase_boot.trust.ipns_name import IpnsName

NAME = IpnsName(ANNOUNCER.keyid)
PEER = "/ip4/192.0.2.7/tcp/4001"
RECORD = base64.b64encode(record()).decode()
GOOD = f"""
answer(answered={PEER!r})
answer(record={RECORD!r})
answer(end={{}})
"""
START = """
import json, os, sys, time
def answer(**content):
    print(json.dumps({"id": request["id"], **content}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "cancel":
        continue
"""


def program(answers: str) -> tuple[str, ...]:
    """Return the command line of a process that answers each request so."""
    body = "".join(f"    {line}\n" for line in answers.strip().splitlines())
    return (sys.executable, "-I", "-S", "-c", START + body)


@asynccontextmanager
async def client(answers: str, **changes: Any) -> AsyncGenerator[Libp2pClient, None]:
    made = Libp2pClient(program(answers), **changes)
    try:
        yield made
    finally:
        await made.stop()


async def found(dht: Libp2pClient) -> list[DhtPeer | DhtRecord]:
    return [each async for each in dht.records(NAME, (PEER,), 10)]


async def test_what_peers_answer_is_passed_on() -> None:
    async with client(GOOD) as dht:
        assert await found(dht) == [DhtPeer(PEER), DhtRecord(record())]
        assert await found(dht) == [DhtPeer(PEER), DhtRecord(record())]


async def test_look_ups_at_once_get_their_own_answers() -> None:
    own = 'answer(answered=request["name"])\nanswer(end={})'
    names = [IpnsName(f"ed25519:{digit * 64}") for digit in "12345678"]
    async with client(own) as dht:

        async def one(name: IpnsName) -> list[DhtPeer | DhtRecord]:
            return [each async for each in dht.records(name, (), 10)]

        assert await asyncio.gather(*map(one, names)) == [[DhtPeer(str(name))] for name in names]


@pytest.mark.parametrize(
    "answers",
    [
        "print('no JSON', flush=True)",
        "print('[' * 100000, flush=True)",
        "print('[]', flush=True)",
        "print('{}', flush=True)",
        'print(\'{"id": 99, "end": {}}\', flush=True)',
        'print(\'{"id": true, "end": 1}\', flush=True)',
        f"print('x' * {2 * MAX_LINE}, flush=True)",
        "sys.stdout.buffer.write(b'\\xff\\n'); sys.stdout.flush()",
        "answer(end=7)",
        "answer(end={'error': 'x' * 100000})",
        "os._exit(1)",
        "os.close(1)",
    ],
)
async def test_a_process_that_answers_nonsense_or_ends_fails_the_look_up(answers: str) -> None:
    async with client(f"{answers}\ntime.sleep(60)") as dht:
        with pytest.raises(DhtFailed) as failure:
            await found(dht)
        assert len(str(failure.value)) < 1000


async def test_what_is_no_answer_to_a_look_up_is_left_out() -> None:
    answers = f"""
answer(record="%%%")
answer(record=7)
answer(record="A" * 100000)
answer(answered="x" * 1000)
answer(answered=None)
answer(block="AAAA")
{GOOD}"""
    async with client(answers) as dht:
        assert await found(dht) == [DhtPeer(PEER), DhtRecord(record())]


async def test_a_process_that_floods_fails_the_look_up() -> None:
    async with client(f"while True: answer(answered={PEER!r})") as dht:
        with pytest.raises(DhtFailed, match=f"more than {MAX_ANSWERS}"):
            await found(dht)


async def test_a_process_that_is_silent_is_killed() -> None:
    async with client("time.sleep(600)", reply_seconds=1.0) as dht:
        with pytest.raises(DhtFailed, match="no answer"):
            await found(dht)
        assert dht._process is None  # noqa: SLF001 - nothing else shows it


async def test_a_process_that_ends_is_started_once_more(tmp_path: Path) -> None:
    first = tmp_path / "first"
    answers = f"""
if not os.path.exists({str(first)!r}): open({str(first)!r}, "w").close(); os._exit(1)
{GOOD}"""
    async with client(answers) as dht:
        assert await found(dht) == [DhtPeer(PEER), DhtRecord(record())]
        first.unlink()
        with pytest.raises(DhtFailed, match="ended 2 times"):
            await found(dht)


async def test_the_end_of_the_process_is_no_news_to_the_event_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for answers in [GOOD, "os._exit(1)", "print('no answer', flush=True); os._exit(0)"] * 10:
        async with client(answers) as dht:
            with suppress(DhtFailed):
                await found(dht)
    assert [each for each in caplog.records if each.name == "asyncio"] == []


async def test_a_look_up_that_is_closed_is_cancelled_and_leaves_the_process(tmp_path: Path) -> None:
    told = tmp_path / "told"
    answers = f"""
answer(answered=str(os.getpid()))
while True: answer(answered=str(os.getpid())); open({str(told)!r}, "a").write("x")
"""
    async with client(answers) as dht:
        async with aclosing(dht.records(NAME, (), 10)) as replies:
            first = await anext(replies)
        assert isinstance(first, DhtPeer)
        os.kill(int(first.address), 0)
        await dht.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(int(first.address), 0)


async def test_a_look_up_that_runs_fails_when_the_process_is_stopped() -> None:
    async with client(f"answer(answered={PEER!r})\ntime.sleep(600)") as dht:
        replies = dht.records(NAME, (), 10)
        await anext(replies)
        await dht.stop()
        with pytest.raises(DhtFailed, match="was stopped"):
            await anext(replies)


async def test_a_missing_library_is_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005 - its signature
    async with client(GOOD) as dht:
        with pytest.raises(DhtFailed, match="libp2p is not installed"):
            await found(dht)


async def test_a_program_that_cannot_be_started_is_one_reason(tmp_path: Path) -> None:
    dht = Libp2pClient((str(tmp_path / "nothing"),))
    with pytest.raises(DhtFailed, match="cannot be started: No such file"):
        await found(dht)


async def test_the_real_process_serves_its_parent() -> None:
    dht = Libp2pClient()
    try:
        assert await found(dht) == []
    finally:
        await dht.stop()
