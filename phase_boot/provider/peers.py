"""Where machines that fetch the same find one another: what they say, and what they are told."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from phase_boot.content.cid import Cid
from phase_boot.content.pieces import as_text, from_text, stretch_count
from phase_boot.provider.files import Goods
from phase_boot.provider.limits import Limits
from phase_boot.provider.meeting import Caller, Meeting
from phase_boot.store.layout import entry_path
from phase_boot.url import Url

MAX_BYTES: Final = 16 * 1024
MAX_ROOTS: Final = 8
"""Artifacts that a machine says something of at once."""
FIRST_PORT: Final = 1024
"""Below it are the services of a machine itself, which nobody is sent to."""
LAST_PORT: Final = 65535
MAX_WANTED: Final = 1 << 16
MAX_FAILED: Final = 16
"""Peers that a machine says do not answer it; more are refused."""
STOPPED: Final = "stopped"
"""The event by which a machine says that it leaves (BEP 3 has the same word)."""
OFFERS_SECONDS: Final = 5.0
"""How long it is remembered what the SITE offers."""
_PEER: Final = re.compile(r"http://([0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):([1-9][0-9]{3,4})")


class NoNotice(Exception):
    """A machine does not say what it should; the text is a sentence."""


class Noticeboard:
    """The meetings over what a SITE offers, and over nothing else."""

    def __init__(self, goods: Goods, limits: Limits) -> None:
        """Take whose artifacts they are."""
        self._goods = goods
        self._limits = limits
        self._sizes: dict[Cid, int] = {}
        self._looked = float("-inf")
        self._meetings: dict[Cid, Meeting] = {}

    def is_stale(self, now: float) -> bool:
        """Say whether it is time to `look` at the SITE again."""
        return now - self._looked > OFFERS_SECONDS

    def look(self, now: float) -> None:
        """Find out what the SITE offers; it blocks."""
        sizes = {}
        for root, digest in self._goods.dags().items():
            served = self._goods.open(entry_path(digest))
            if served is not None:
                served.file.close()
                sizes[root] = served.size
        self._sizes, self._looked = sizes, now

    def exchange(self, address: str, raw: bytes, now: float) -> dict[str, Any]:
        """Return what the machine at ``address`` is told in exchange for what it says of itself.

        Its own address is the one that it calls from, whatever it says.

        Raises:
            NoNotice: it says something else.
        """
        place = _place(address)
        said = _read(raw)
        port, roots = said.get("port"), said.get("roots")
        if not isinstance(port, int) or not FIRST_PORT <= port <= LAST_PORT:
            raise NoNotice(f"Say at which port you answer: from {FIRST_PORT} to {LAST_PORT}.")
        if not isinstance(roots, dict) or len(roots) > MAX_ROOTS:
            raise NoNotice(f"Say what you hold of each of at most {MAX_ROOTS} artifacts.")
        failed = _failed(said.get("failed", []))
        self._sweep(now)
        if said.get("event") == STOPPED:
            for meeting in self._meetings.values():
                meeting.remove((place, port))
            return {"roots": {}}
        told = {}
        for name, notice in roots.items():
            root = _root(name)
            size = self._sizes.get(root) if root is not None else None
            if root is not None and size:
                told[name] = self._told(root, size, (place, port), notice, failed, now)
        return {"roots": told}

    def _told(  # noqa: PLR0913, PLR0917 - one argument for each part of an announcement
        self,
        root: Cid,
        size: int,
        caller: Caller,
        notice: object,
        failed: frozenset[Caller],
        now: float,
    ) -> dict[str, Any]:
        count = stretch_count(size)
        held, wants = _notice(notice, count)
        meeting = self._meetings.get(root)
        if meeting is None:
            meeting = self._meetings[root] = Meeting(count, self._limits)
        reply = meeting.exchange(caller, held=held, wants=wants, now=now, failed=failed)
        near = _is_loopback(caller[0])
        others = [
            {"url": Url("http", *who).origin, "held": as_text(theirs, count)}
            for who, theirs in reply.others
            if near or not _is_loopback(who[0])
        ]
        return {"yours": as_text(reply.yours, count), "peers": others}

    def _sweep(self, now: float) -> None:
        """Let go of meetings that everybody has left, and of those over what is offered no more."""
        for root, meeting in list(self._meetings.items()):
            meeting.forget(now)
            if not len(meeting) or root not in self._sizes:
                del self._meetings[root]


def _read(raw: bytes) -> Mapping[str, object]:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NoNotice("Say it as a JSON object.")
    return said


def _notice(notice: object, count: int) -> tuple[int, int]:
    match notice:
        case {"held": text, "wants": int(wants)} if 0 <= wants <= MAX_WANTED:
            try:
                return from_text(text, count), wants
            except ValueError as error:
                raise NoNotice(f"This cannot be: {error}.") from error
    raise NoNotice("Say what you hold, and how many stretches you want to take from here.")


def _failed(urls: object) -> frozenset[Caller]:
    """Return the peers that an announcement names as failed, as this provider knows them."""
    if not isinstance(urls, list) or len(urls) > MAX_FAILED:
        raise NoNotice(f"Name at most {MAX_FAILED} peers that failed, by their URLs.")
    return frozenset(filter(None, map(_caller, urls)))


def _caller(url: object) -> Caller | None:
    """Return the address and port of a peer's URL as `_told` spells it, None for another one."""
    found = _PEER.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        return None
    try:
        return str(ipaddress.ip_address(found[1].strip("[]"))), int(found[2])
    except ValueError:
        return None


def _root(name: str) -> Cid | None:
    try:
        return Cid.parse(name)
    except ValueError:
        return None


def _place(address: str) -> str:
    """Return the address of a caller as others may be told it.

    Raises:
        NoNotice: others cannot reach it by its address alone.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError as error:
        raise NoNotice("Whoever calls has no address that others could be told.") from error
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        # The same machine as the one that calls from the IPv4 address.
        found = found.ipv4_mapped
    if found.version != 4 and found.is_link_local:  # noqa: PLR2004 - which of the two it is
        raise NoNotice("Call from an address that means the same to others: yours is of one link.")
    return str(found)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
