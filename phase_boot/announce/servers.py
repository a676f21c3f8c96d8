"""Servers of IPNS records over HTTP: delegated routers, kubo's RPC API, gateways and mirrors.

Delegated routing: `GET` and `PUT /routing/v1/ipns/NAME` (IPFS delegated routing API). Gateways:
`GET /ipns/NAME?format=ipns-record` (IPFS trustless-gateway specification). kubo's RPC API:
`POST /api/v0/routing/put`, `/api/v0/routing/get` and `/api/v0/swarm/peers`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, auto
from typing import Final

from phase_boot.adapters.http.client import Client
from phase_boot.adapters.http.exchange import Answer, Request, exchange
from phase_boot.adapters.http.response import GONE, OK, REDIRECTS
from phase_boot.announce.kubo_rpc import MAX_EVENTS, Form, json_lines, reason_of
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.layout import RECORD_TYPE, RECORDS
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import MAX_RECORD
from phase_boot.url import below

_SERVER_ERROR: Final = 500
_ROUTING, _GATEWAY = RECORDS


def utc_now() -> datetime:
    """Return the time by the clock of this machine."""
    return datetime.now(UTC)


class Kind(StrEnum):
    """The kind of a server, as the option that names it."""

    ROUTER = auto()
    KUBO = auto()
    GATEWAY = auto()
    MIRROR = auto()


@dataclass(frozen=True, slots=True)
class Server:
    """A server of records: its kind, and its base URL."""

    kind: Kind
    url: str

    @property
    def takes_records(self) -> bool:
        """Whether records can be put there."""
        return self.kind in {Kind.ROUTER, Kind.KUBO}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long servers are waited for."""

    seconds: float = 30.0
    """For one request."""
    kubo_seconds: float = 120.0
    """For one request to kubo that walks through the DHT, and for its next bytes of a file."""
    reads: int = 3
    """Requests for a record that was put, until the server has it."""
    pause_seconds: float = 1.0
    """Before each of them but the first."""
    search_seconds: float = 5.0
    """For a provider of a block in the DHT."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a server answered when a record was put there.

    Attributes:
        accepted: whether it says that it took the record. That proves nothing: routers and kubo
            say so of an older record and drop it.
        text: the answer in a few words.
    """

    accepted: bool
    text: str


async def put(client: Client, server: Server, name: IpnsName, raw: bytes, limits: Limits) -> Reply:
    """Send a record and return how the server answered."""
    try:
        answer = await exchange(client, _writing(server, name, raw, limits))
    except FetchFailed as failed:
        return Reply(accepted=False, text=str(failed))
    text = f"it answered HTTP {answer.status}{reason_of(answer)}"
    return Reply(accepted=answer.status == OK, text=text)


async def get(client: Client, server: Server, name: IpnsName, limits: Limits) -> Answer | None:
    """Return the answer with a record of ``name``; None if the server has none.

    Raises:
        FetchFailed: there is no usable answer.
    """
    answer = await exchange(client, _reading(server, name, limits))
    if server.kind is Kind.KUBO:
        return _from_events(answer)
    # kubo's gateway answers 500 for a name that it cannot find.
    unknown = answer.status == _SERVER_ERROR and "not found" in reason_of(answer)
    if answer.status in GONE or unknown:
        return None
    if answer.status in REDIRECTS:
        reason = f"it redirects (HTTP {answer.status}), and no redirect is followed here"
        raise FetchFailed(reason, retryable=False)
    if answer.status != OK:
        raise FetchFailed(f"it answered HTTP {answer.status}{reason_of(answer)}", retryable=True)
    return answer


async def has_no_peers(client: Client, server: Server, limits: Limits) -> bool:
    """Return whether a kubo node says that it is connected with no other node.

    Such a node takes a record, keeps it, and answers as if it had passed it on.
    """
    url = below(server.url, "api/v0/swarm/peers")
    request = Request(method="POST", url=url, limit=MAX_EVENTS, seconds=limits.seconds)
    try:
        answer = await exchange(client, request)
    except FetchFailed:
        # A list beyond the limit is one of many peers.
        return False
    peers = [event["Peers"] for event in json_lines(answer.body) if "Peers" in event]
    return answer.status == OK and peers in ([None], [[]])


def _reading(server: Server, name: IpnsName, limits: Limits) -> Request:
    if server.kind is Kind.KUBO:
        url = below(server.url, f"api/v0/routing/get?arg=%2Fipns%2F{name}")
        return Request(method="POST", url=url, limit=MAX_EVENTS, seconds=limits.kubo_seconds)
    gateway = server.kind is Kind.GATEWAY
    path = f"{_GATEWAY}/{name}?format=ipns-record" if gateway else f"{_ROUTING}/{name}"
    return Request(
        method="GET",
        url=below(server.url, path),
        headers={"Accept": RECORD_TYPE, "Cache-Control": "no-cache"},
        limit=MAX_RECORD,
        seconds=limits.seconds,
    )


def _writing(server: Server, name: IpnsName, raw: bytes, limits: Limits) -> Request:
    if server.kind is not Kind.KUBO:
        return Request(
            method="PUT",
            url=below(server.url, f"{_ROUTING}/{name}"),
            headers={"Content-Type": RECORD_TYPE},
            body=raw,
            limit=MAX_RECORD,
            seconds=limits.seconds,
        )
    form = Form()
    return Request(
        method="POST",
        url=below(server.url, f"api/v0/routing/put?arg=%2Fipns%2F{name}"),
        headers=form.headers,
        body=b"".join(form.body([raw])),
        limit=MAX_EVENTS,
        seconds=limits.kubo_seconds,
    )


def _from_events(answer: Answer) -> Answer | None:
    """Return the answer of kubo as that of a router."""
    events = list(json_lines(answer.body))
    if answer.status == OK:
        for event in events:
            if isinstance(extra := event.get("Extra"), str) and extra:
                return Answer(OK, RECORD_TYPE, _decoded(extra))
        return None
    if answer.status == _SERVER_ERROR and any("not found" in str(e.get("Message")) for e in events):
        return None
    raise FetchFailed(f"it answered HTTP {answer.status}{reason_of(answer)}", retryable=True)


def _decoded(extra: str) -> bytes:
    try:
        return base64.b64decode(extra, validate=True)
    except ValueError:
        raise FetchFailed("its record is not in base64", retryable=False) from None
