"""Reading what a provider tells of others who fetch: bounded, and believed in nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from phase_boot.content.pieces import decode_bitfield
from phase_boot.ports.finder import host_of
from phase_boot.url import BadUrl, Scope, Url, announced, scope_of

MAX_REPLY_PEERS: Final = 16
"""Of one answer; more are left unread."""
MIN_PORT: Final = 1024
"""Below it are the services of a machine itself, where nobody sends us."""
MAX_PEER_URL: Final = 64
"""Characters of the URL of one."""
PLAIN_HTTP: Final = "http"


@dataclass(frozen=True, slots=True)
class AnnounceReply:
    """What we may take from the provider, and what others are said to hold."""

    assigned: int
    peers: Mapping[str, int]


def parse_artifacts(raw: bytes) -> Mapping[str, object]:
    """Return what is said of each artifact.

    Raises:
        ValueError: it makes no sense.
    """
    try:
        said = json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    match said:
        case {"roots": dict(roots)}:
            return roots
    raise ValueError("it says nothing of artifacts")


def parse_reply(said: object, count: int, base: str) -> AnnounceReply:
    """Return what the provider at ``base`` says of an artifact of ``count`` stretches.

    Peers at strange addresses are left out, and so is our own machine where the provider is none.

    Raises:
        ValueError: it makes no sense.
    """
    match said:
        case {"yours": yours, "peers": list(named)}:
            own = scope_of(host_of(base)) is Scope.OWN
            peers = {}
            for each in named[:MAX_REPLY_PEERS]:
                match each:
                    case {"url": str(url), "held": held} if _is_peer(url, own=own):
                        peers[url] = decode_bitfield(held, count)
            return AnnounceReply(decode_bitfield(yours, count), peers)
    raise ValueError("it does not say who holds what")


def _is_peer(text: str, *, own: bool) -> bool:
    """Say whether it is the address of a server on this network, as a provider writes it.

    ``own`` says that the provider is on this machine, and so may be its peers.
    """
    try:
        url = Url.parse(text, most=MAX_PEER_URL)
        if not own:
            announced(text)
    except BadUrl:
        return False
    literal = url.scheme == PLAIN_HTTP and url.scope is not Scope.NAME
    return literal and text == url.origin and url.port >= MIN_PORT
