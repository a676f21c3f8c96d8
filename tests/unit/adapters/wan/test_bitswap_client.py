"""Blocks from a process that speaks libp2p, whatever that process answers."""

from __future__ import annotations

import base64
import sys
from contextlib import aclosing

import pytest

from phase_boot.adapters.wan.bitswap_client import BitswapClient
from phase_boot.adapters.wan.libp2p_client import Libp2pClient
from phase_boot.content.cid import Cid, Codec
from phase_boot.ports.block_exchange import BlockPeer
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import Scope

PEER = "12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"
ADDRESS = "/ip4/192.0.2.7/tcp/4001"
NAMED = BlockPeer(PEER, (ADDRESS,), Scope.PUBLIC)
BLOCK = b"a block"
CID = Cid.of(Codec.RAW, BLOCK)
TEXT = base64.b64encode(BLOCK).decode()
PROGRAM = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] != "cancel":
        for answer in {answers!r}:
            print(json.dumps({{"id": request["id"], **answer}}), flush=True)
"""


def process(*answers: object) -> Libp2pClient:
    """Return a process that answers each request so."""
    return Libp2pClient((sys.executable, "-I", "-S", "-c", PROGRAM.format(answers=answers)))


async def block_of(*answers: object, limit: int = 100) -> bytes:
    made = process(*answers)
    try:
        return await BitswapClient(made).block(CID, limit=limit, peers=(NAMED,), seconds=5)
    finally:
        await made.stop()


async def test_a_block_is_passed_on_as_it_came() -> None:
    assert await block_of({"block": TEXT, "peer": PEER}, {"end": {}}) == BLOCK


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"end": {"error": "1 of 1 peers lack it"}}, "1 of 1 peers lack it"),
        ({"end": {}}, "sent no block"),
        ({"block": 7}, "sent no block"),
        ({"block": "not base64!"}, "sent no block"),
        ({"block": base64.b64encode(bytes(300)).decode()}, "sent no block"),
        ({"record": TEXT}, "sent no block"),
    ],
)
async def test_an_answer_without_a_block_is_a_failure(answer: object, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await block_of(answer)


async def test_providers_without_a_peer_id_are_left_out() -> None:
    made = process(
        {"answered": ADDRESS},
        {"provider": {"peer": PEER, "addresses": [ADDRESS, 7]}},
        {"provider": {"peer": "\x1b[2J", "addresses": [ADDRESS]}},
        {"provider": [PEER]},
        {"end": {"peers": 1, "refused": 0}},
    )
    found = BitswapClient(made).providers(
        CID, bootstrap=(ADDRESS,), nearest=Scope.PUBLIC, seconds=5
    )
    try:
        async with aclosing(found) as peers:
            assert [peer async for peer in peers] == [NAMED]
    finally:
        await made.stop()
