"""The operations on the DHT: the records of an IPNS name, and the providers of a CID.

``record`` answers with each record that a peer has, as often as peers have it: its parent verifies
them, and cancels when it has enough. ``providers`` answers with each provider once. Both also name
each peer that answered, for the next boot.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.host import Node
from phase_boot.libp2p_node.kad_message import MessageType, PeerEntry
from phase_boot.libp2p_node.lookup import Query, Told, look_up
from phase_boot.libp2p_node.program import Answer, Fields, RequestFailed

MAX_VALUE: Final = 10 * 1024
"""Bytes of a record that are passed on: the limit of the IPNS specification."""
MAX_PROVIDERS: Final = 64
"""Providers that one request names."""
MAX_OF_ONE_PEER: Final = 4
"""Providers that one peer adds to them: the first who answers may lie."""
_NAME_BYTES: Final = 40
_LIBP2P_KEY: Final = b"\x01\x72"


async def record(node: Node, request: Fields, answer: Answer) -> Mapping[str, object]:
    """Answer with the records of ``name`` that peers of the DHT have."""

    async def told(each: Told) -> None:
        await answer({"answered": _address_of(each)})
        value = each.answer.value
        if value is not None and len(value) <= MAX_VALUE:
            await answer({"record": base64.b64encode(value).decode()})

    query = Query(MessageType.GET_VALUE, routing_key(request["name"]))
    return await _walk(node, request, query, told)


async def providers(node: Node, request: Fields, answer: Answer) -> Mapping[str, object]:
    """Answer with the providers of ``cid`` that peers of the DHT name."""
    found = set[PeerId]()

    async def told(each: Told) -> None:
        await answer({"answered": _address_of(each)})
        for entry in further_providers(found, each.answer.providers):
            addresses = [str(address) for address in entry.addresses]
            await answer({"provider": {"peer": str(entry.peer), "addresses": addresses}})

    try:
        multihash = bytes(Cid.parse(request["cid"]))[2:]
    except ValueError as error:
        raise RequestFailed(str(error)) from None
    return await _walk(node, request, Query(MessageType.GET_PROVIDERS, multihash), told)


def further_providers(found: set[PeerId], named: Iterable[PeerEntry]) -> list[PeerEntry]:
    """Return what the answer of one peer adds to the providers ``found``, and add it there."""
    most = min(MAX_OF_ONE_PEER, MAX_PROVIDERS - len(found))
    new = {each.peer: each for each in named if each.addresses and each.peer not in found}
    added = list(new.values())[:most]
    found.update(each.peer for each in added)
    return added


def routing_key(name: str) -> bytes:
    """Return the key of an IPNS name's record: ``/ipns/`` and the peer id, which is no text.

    Raises:
        RequestFailed: it is no name in base36.
    """
    try:
        data = int(name.removeprefix("k"), 36).to_bytes(_NAME_BYTES)
    except (ValueError, OverflowError):
        raise RequestFailed("an IPNS name is k and 61 characters of base36") from None
    return b"/ipns/" + data.removeprefix(_LIBP2P_KEY)


async def _walk(
    node: Node, request: Fields, query: Query, told: Callable[[Told], Awaitable[None]]
) -> Mapping[str, object]:
    try:
        bootstrap = [Multiaddr.parse(text) for text in request["bootstrap"]]
    except ValueError as error:
        raise RequestFailed(str(error)) from None
    tally = await look_up(node, query, bootstrap, told, request["seconds"])
    return {"peers": tally.peers, "refused": tally.refused}


def _address_of(told: Told) -> str:
    host, port = told.endpoint
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/p2p/{told.peer}"
