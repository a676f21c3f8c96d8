"""Where machines that fetch the same find one another: what they say, and what they are told."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from phase_boot.content.cid import Cid
from phase_boot.content.pieces import decode_bitfield, encode_bitfield, piece_count
from phase_boot.provider.backend import Backend
from phase_boot.provider.limits import Limits
from phase_boot.provider.swarm_state import PeerAddress, TrackedSwarm
from phase_boot.store.layout import entry_path
from phase_boot.url import Url

MAX_BYTES: Final = 16 * 1024
MAX_ROOTS: Final = 8
"""Artifacts that a machine says something of at once."""
MIN_PORT: Final = 1024
"""Below it are the services of a machine itself, which nobody is sent to."""
MAX_PORT: Final = 65535
MAX_WANT: Final = 1 << 16
MAX_FAILED: Final = 16
"""Peers that a machine says do not answer it; more are refused."""
STOPPED: Final = "stopped"
"""The event by which a machine says that it leaves (BEP 3 has the same word)."""
REFRESH_SECONDS: Final = 5.0
"""How long it is remembered what the SITE offers."""
_PEER: Final = re.compile(r"http://([0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):([1-9][0-9]{3,4})")


class BadAnnounce(Exception):
    """A machine does not say what it should; the text is a sentence."""


class Tracker:
    """The meetings over what a SITE offers, and over nothing else."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        """Take whose artifacts they are."""
        self._backend = backend
        self._limits = limits
        self._sizes: dict[Cid, int] = {}
        self._refreshed = float("-inf")
        self._swarms: dict[Cid, TrackedSwarm] = {}

    def is_stale(self, now: float) -> bool:
        """Say whether it is time to `refresh` at the SITE again."""
        return now - self._refreshed > REFRESH_SECONDS

    def refresh(self, now: float) -> None:
        """Find out what the SITE offers; it blocks."""
        sizes = {}
        for root, digest in self._backend.dags().items():
            served = self._backend.open(entry_path(digest))
            if served is not None:
                served.file.close()
                sizes[root] = served.size
        self._sizes, self._refreshed = sizes, now

    def announce(self, address: str, raw: bytes, now: float) -> dict[str, Any]:
        """Return what the machine at ``address`` is told in exchange for what it says of itself.

        Its own address is the one that it calls from, whatever it says.

        Raises:
            BadAnnounce: it says something else.
        """
        host = _parse_address(address)
        body = _parse_body(raw)
        port, roots = body.get("port"), body.get("roots")
        if not isinstance(port, int) or not MIN_PORT <= port <= MAX_PORT:
            raise BadAnnounce(f"Say at which port you answer: from {MIN_PORT} to {MAX_PORT}.")
        if not isinstance(roots, dict) or len(roots) > MAX_ROOTS:
            raise BadAnnounce(f"Say what you hold of each of at most {MAX_ROOTS} artifacts.")
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
            {"url": Url("http", *address).origin, "held": encode_bitfield(peer_have, count)}
            for address, peer_have in reply.peers
            if is_local or not _is_loopback(address[0])
        ]
        return {"yours": encode_bitfield(reply.assigned, count), "peers": peers}

    def _expire(self, now: float) -> None:
        """Let go of meetings that everybody has left, and of those over what is offered no more."""
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
        raise BadAnnounce("Say it as a JSON object.")
    return body


def _parse_entry(entry: object, count: int) -> tuple[int, int]:
    match entry:
        case {"held": text, "wants": int(want)} if 0 <= want <= MAX_WANT:
            try:
                return decode_bitfield(text, count), want
            except ValueError as error:
                raise BadAnnounce(f"This cannot be: {error}.") from error
    raise BadAnnounce("Say what you hold, and how many stretches you want to take from here.")


def _parse_failed(urls: object) -> frozenset[PeerAddress]:
    """Return the peers that an announcement names as failed, as this provider knows them."""
    if not isinstance(urls, list) or len(urls) > MAX_FAILED:
        raise BadAnnounce(f"Name at most {MAX_FAILED} peers that failed, by their URLs.")
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
    """Return the address of a caller as others may be told it.

    Raises:
        BadAnnounce: others cannot reach it by its address alone.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError as error:
        raise BadAnnounce("Whoever calls has no address that others could be told.") from error
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        # The same machine as the one that calls from the IPv4 address.
        found = found.ipv4_mapped
    if found.version != 4 and found.is_link_local:  # noqa: PLR2004 - which of the two it is
        raise BadAnnounce(
            "Call from an address that means the same to others: yours is of one link."
        )
    return str(found)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
