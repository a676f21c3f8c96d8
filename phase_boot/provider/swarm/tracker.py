"""Tracker: parses announcements, checks their bounds, and keeps one swarm per offered artifact.

An announcement names a port and, for each artifact, the pieces that the peer has. A reply names
the pieces that it may request from this provider, and peers that have others. A peer's address is
always the source address of its request, so no peer can direct others at a third machine.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from phase_boot.content.cid import Cid
from phase_boot.content.pieces import (
    MAX_ANNOUNCED,
    MAX_FAILED,
    decode_bitfield,
    encode_bitfield,
    piece_count,
)
from phase_boot.provider.backends.backend import Backend
from phase_boot.provider.limits import Limits
from phase_boot.provider.swarm.swarm_state import PeerAddress, TrackedSwarm
from phase_boot.store.layout import entry_path
from phase_boot.url import MAX_PORT, MIN_USER_PORT, Url

MAX_BYTES: Final = 16 * 1024
MAX_WANT: Final = 1 << 16
STOPPED: Final = "stopped"
"""The event of a peer that leaves the swarm (the word of BEP 3)."""
REFRESH_SECONDS: Final = 5.0
"""Age after which the list of offered artifacts is read again."""
_PEER: Final = re.compile(r"http://([0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):([1-9][0-9]{3,4})")


class BadAnnounce(Exception):
    """An announcement is invalid; the text is a sentence."""


class Tracker:
    """The swarms of the artifacts that a backend offers, and of no others."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        """Take the backend whose artifacts are tracked."""
        self._backend = backend
        self._limits = limits
        self._sizes: dict[Cid, int] = {}
        self._refreshed = float("-inf")
        self._swarms: dict[Cid, TrackedSwarm] = {}

    def is_stale(self, now: float) -> bool:
        """Return whether `refresh` is due."""
        return now - self._refreshed > REFRESH_SECONDS

    def refresh(self, now: float) -> None:
        """Read which artifacts the backend offers; it blocks."""
        sizes = {}
        for root, digest in self._backend.dags().items():
            served = self._backend.open(entry_path(digest))
            if served is not None:
                served.file.close()
                sizes[root] = served.size
        self._sizes, self._refreshed = sizes, now

    def announce(self, address: str, raw: bytes, now: float) -> dict[str, Any]:
        """Apply an announcement from ``address``, and return the reply.

        Raises:
            BadAnnounce: the announcement is invalid.
        """
        host = _parse_address(address)
        body = _parse_body(raw)
        port, roots = body.get("port"), body.get("roots")
        if not isinstance(port, int) or not MIN_USER_PORT <= port <= MAX_PORT:
            raise BadAnnounce(
                f"Invalid announcement: port must be from {MIN_USER_PORT} to {MAX_PORT}."
            )
        if not isinstance(roots, dict) or len(roots) > MAX_ANNOUNCED:
            raise BadAnnounce(
                f"Invalid announcement: roots must name at most {MAX_ANNOUNCED} artifacts."
            )
        failed = _parse_failed(body.get("failed", []))
        self._expire(now)
        if body.get("event") == STOPPED:
            for swarm in self._swarms.values():
                swarm.remove((host, port))
            return {"roots": {}}
        replies = {}
        for name, entry in roots.items():
            root = _parse_root(name)
            size = self._sizes.get(root) if root is not None else None
            if root is not None and size:
                replies[name] = self._announce_one(root, size, (host, port), entry, failed, now)
        return {"roots": replies}

    def _announce_one(  # noqa: PLR0913, PLR0917 - one argument for each part of an announcement
        self,
        root: Cid,
        size: int,
        client: PeerAddress,
        entry: object,
        failed: frozenset[PeerAddress],
        now: float,
    ) -> dict[str, Any]:
        count = piece_count(size)
        have, want = _parse_entry(entry, count)
        swarm = self._swarms.get(root)
        if swarm is None:
            swarm = self._swarms[root] = TrackedSwarm(count, self._limits)
        reply = swarm.announce(client, have=have, want=want, now=now, failed=failed)
        is_local = _is_loopback(client[0])
        peers = [
            {"url": Url("http", *address).origin, "have": encode_bitfield(peer_have, count)}
            for address, peer_have in reply.peers
            if is_local or not _is_loopback(address[0])
        ]
        return {"assigned": encode_bitfield(reply.assigned, count), "peers": peers}

    def _expire(self, now: float) -> None:
        """Drop swarms without peers, and swarms of artifacts that are no longer offered."""
        for root, swarm in list(self._swarms.items()):
            swarm.expire(now)
            if not len(swarm) or root not in self._sizes:
                del self._swarms[root]


def _parse_body(raw: bytes) -> Mapping[str, object]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadAnnounce("The body must be a JSON object.")
    return body


def _parse_entry(entry: object, count: int) -> tuple[int, int]:
    match entry:
        case {"have": text, "want": int(want)} if 0 <= want <= MAX_WANT:
            try:
                return decode_bitfield(text, count), want
            except ValueError as error:
                raise BadAnnounce(f"Invalid announcement: {error}.") from error
    raise BadAnnounce("Invalid announcement: each root needs a bitfield and a number of pieces.")


def _parse_failed(urls: object) -> frozenset[PeerAddress]:
    """Return the addresses of the peers that an announcement lists as failed."""
    if not isinstance(urls, list) or len(urls) > MAX_FAILED:
        raise BadAnnounce(f"Invalid announcement: failed lists at most {MAX_FAILED} peers by URL.")
    return frozenset(filter(None, map(_parse_peer_url, urls)))


def _parse_peer_url(url: object) -> PeerAddress | None:
    """Return address and port of a peer URL in the form of `_announce_one`; None for any other."""
    found = _PEER.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        return None
    try:
        return str(ipaddress.ip_address(found[1].strip("[]"))), int(found[2])
    except ValueError:
        return None


def _parse_root(name: str) -> Cid | None:
    try:
        return Cid.parse(name)
    except ValueError:
        return None


def _parse_address(address: str) -> str:
    """Return a peer's address in the form in which other peers receive it.

    Raises:
        BadAnnounce: other peers cannot reach this address.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError as error:
        raise BadAnnounce("Invalid announcement: the peer has no IP address.") from error
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        # An IPv4-mapped address is the same peer as its IPv4 address.
        found = found.ipv4_mapped
    if found.version != 4 and found.is_link_local:  # noqa: PLR2004 - which of the two it is
        raise BadAnnounce(
            "Invalid announcement: the address is link-local; announce from a routable one."
        )
    return str(found)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
