"""Parses a tracker's reply to an announcement.

The reply is untrusted. It may name at most `MAX_REPLY_PEERS` peers, and only at addresses of this
network and ports from `MIN_USER_PORT` on, so that a tracker cannot direct requests to local
services.
The pieces that peers are reported to have are hints: chunks are verified by their hashes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from phase_boot.content.pieces import decode_bitfield
from phase_boot.ports.finder import host_of
from phase_boot.url import MIN_USER_PORT, BadUrl, Scope, Url, announced, scope_of

MAX_REPLY_PEERS: Final = 16
"""Peers that are read of one reply; the rest is ignored."""
MAX_PEER_URL: Final = 64
"""Characters of a peer's URL."""
PLAIN_HTTP: Final = "http"


@dataclass(frozen=True, slots=True)
class AnnounceReply:
    """A tracker's reply for one artifact.

    Attributes:
        assigned: bitfield of the pieces to request from the tracker itself.
        peers: URLs of peers, with bitfields of the pieces that each is reported to have.
    """

    assigned: int
    peers: Mapping[str, int]


def parse_artifacts(raw: bytes) -> Mapping[str, object]:
    """Return the reply's part of each artifact, by the CID of its DAG; the parts are not checked.

    Raises:
        ValueError: the reply is no JSON object of artifacts.
    """
    try:
        reply = json.loads(raw)
    except RecursionError as error:
        raise ValueError("the reply is nested too deeply") from error
    match reply:
        case {"roots": dict(roots)}:
            return roots
    raise ValueError("the reply names no artifacts")


def parse_reply(entry: object, count: int, base: str) -> AnnounceReply:
    """Return the reply of the tracker at ``base`` for an artifact of ``count`` pieces.

    Peers at other addresses than a peer may have are left out. Loopback addresses are accepted
    only of a tracker on this machine.

    Raises:
        ValueError: the entry has no peers, no assigned pieces, or a malformed bitfield.
    """
    match entry:
        case {"assigned": assigned, "peers": list(peer_entries)}:
            own = scope_of(host_of(base)) is Scope.OWN
            peers = {}
            for each in peer_entries[:MAX_REPLY_PEERS]:
                match each:
                    case {"url": str(url), "have": have} if _is_peer(url, own=own):
                        peers[url] = decode_bitfield(have, count)
            return AnnounceReply(decode_bitfield(assigned, count), peers)
    raise ValueError("the reply assigns no pieces")


def _is_peer(text: str, *, own: bool) -> bool:
    """Return whether ``text`` is the origin of a peer: plain HTTP, a literal address, a high port.

    ``own`` allows loopback addresses: the tracker is on this machine, and its peers may be too.
    """
    try:
        url = Url.parse(text, max_length=MAX_PEER_URL)
        if not own:
            announced(text)
    except BadUrl:
        return False
    literal = url.scheme == PLAIN_HTTP and url.scope is not Scope.NAME
    return literal and text == url.origin and url.port >= MIN_USER_PORT
