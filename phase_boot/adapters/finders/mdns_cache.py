"""Cache of mDNS records, separate for each sender and limited for each sender and in total.

Records of different senders never mix: a goodbye (RFC 6762, section 10.1) or cache flush (section
10.2) of one sender does not remove records of another, and its SRV record does not redirect the
name of another. Records are hints that are needed for seconds, so none expires. A sender that
announces too much displaces its own announcements first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, TypeAlias

MAX_SENDERS: Final = 256
MAX_INSTANCES: Final = 32
"""Of one sender."""
MAX_HOSTS: Final = 32
"""Host names of one sender."""
MAX_ADDRESSES: Final = 8
"""Addresses of one host name."""
BURST_PACKETS: Final = 64
PACKETS_PER_SECOND: Final = 32
"""Packets per second of one sender after its burst."""
SILENT_QUERIES: Final = 3
"""Unanswered queries after which an instance is reported as incomplete."""
QUERY_SECONDS: Final = 1.0
"""Interval of the first two queries for a record (RFC 6762, section 5.2)."""
LONGEST_QUERY_SECONDS: Final = 2.0
"""Interval of later queries, during the whole search: a busy network loses several."""
MAX_ASKED: Final = 8
"""Instances of one sender in one round of queries."""
MAX_QUESTIONS: Final = 64
"""Questions in one round, for all senders."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Source of a packet: interface index, address family and source address."""

    index: int
    family: int
    address: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """A PTR record of the service, which names an instance."""

    instance: str


@dataclass(frozen=True, slots=True)
class Server:
    """An SRV record: the host name of an instance."""

    instance: str
    host: str


@dataclass(frozen=True, slots=True)
class Text:
    """A TXT record of an instance in wire format."""

    instance: str
    strings: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """An A or AAAA record."""

    host: str
    address: str


Record: TypeAlias = Pointer | Server | Text | Address


@dataclass(frozen=True, slots=True)
class Question:
    """A query for missing records of an instance or addresses of a host."""

    sender: Sender
    name: str
    is_host: bool


@dataclass(slots=True)
class Instance:
    """One announced service of one sender."""

    name: str
    host: str | None = None
    strings: bytes | None = None
    asked: int = 0
    ask_at: float = 0.0
    answered: bool = False
    """Whether all records are known."""


@dataclass(slots=True)
class _Known:
    """The records of one sender."""

    instances: dict[str, Instance] = field(default_factory=dict)
    hosts: dict[str, dict[str, None]] = field(default_factory=dict)
    packets: float = BURST_PACKETS
    last_packet: float = 0.0


class Announcements:
    """The cache. Performs no I/O; methods take the time in seconds."""

    def __init__(self, chance: random.Random | None = None) -> None:
        """Use ``chance`` to select the sender that a full cache evicts."""
        self._chance = chance or random.Random()  # noqa: S311 - no secret is drawn
        self._senders: dict[Sender, _Known] = {}
        self.ignored: Counter[str] = Counter()
        """Numbers of ignored packets and records by reason."""

    def admits(self, sender: Sender, now: float) -> bool:
        """Count a packet of ``sender``; return whether its rate limit permits it."""
        known = self._senders.get(sender)
        if known is None:
            return True
        known.packets = min(
            BURST_PACKETS, known.packets + (now - known.last_packet) * PACKETS_PER_SECOND
        )
        known.last_packet = now
        if known.packets < 1:
            self.ignored["packets beyond the rate of one sender"] += 1
            return False
        known.packets -= 1
        return True

    def add(self, sender: Sender, records: Iterable[Record], now: float) -> list[Instance]:
        """Add the records of a packet; return the affected instances."""
        known = self._known(sender, now)
        touched: dict[str, None] = {}
        hosts = set[str]()
        for record in records:
            if isinstance(record, Address):
                if self._address(known, record):
                    hosts.add(record.host.lower())
                continue
            instance = self._instance(known, record.instance)
            if isinstance(record, Server):
                instance.host = record.host
            elif isinstance(record, Text):
                instance.strings = record.strings
            touched[record.instance.lower()] = None
        for key, instance in known.instances.items():
            if instance.host is not None and instance.host.lower() in hosts:
                touched[key] = None
        return [known.instances[key] for key in touched if key in known.instances]

    def addresses(self, sender: Sender, instance: Instance) -> tuple[str, ...]:
        """Return the addresses of the instance's host according to ``sender``."""
        known = self._senders.get(sender)
        if known is None or instance.host is None:
            return ()
        return tuple(known.hosts.get(instance.host.lower(), ()))

    def questions(self, now: float) -> list[Question]:
        """Return the queries that are due; each call counts them as sent."""
        asked: list[Question] = []
        # Senders with few announcements come first.
        for sender, known in sorted(self._senders.items(), key=lambda s: len(s[1].instances)):
            if any(_is_silent(each, now) for each in known.instances.values()):
                self.ignored["announcements that nothing completes"] += 1
            due = [each for each in known.instances.values() if _is_due(each, now)]
            # Newest first: older names of the same sender may be a flood.
            for instance in due[-MAX_ASKED:]:
                if len(asked) >= MAX_QUESTIONS:
                    return asked
                instance.asked += 1
                pause = QUERY_SECONDS if instance.asked == 1 else LONGEST_QUERY_SECONDS
                instance.ask_at = now + pause
                asked.append(_question(sender, instance))
        return asked

    def _known(self, sender: Sender, now: float) -> _Known:
        known = self._senders.get(sender)
        if known is None:
            if len(self._senders) >= MAX_SENDERS:
                # Random eviction: a flood of forged senders mostly evicts its own entries.
                del self._senders[self._chance.choice(tuple(self._senders))]
                self.ignored["senders beyond the room for them"] += 1
            known = self._senders[sender] = _Known(packets=BURST_PACKETS - 1, last_packet=now)
        return known

    def _instance(self, known: _Known, name: str) -> Instance:
        key = name.lower()
        instance = known.instances.get(key)
        if instance is None:
            if len(known.instances) >= MAX_INSTANCES:
                del known.instances[next(iter(known.instances))]
                self.ignored["announcements beyond the room for one sender"] += 1
            instance = known.instances[key] = Instance(name)
        return instance

    def _address(self, known: _Known, record: Address) -> bool:
        """Add an address; return whether it is new."""
        key = record.host.lower()
        if key not in known.hosts and len(known.hosts) >= MAX_HOSTS:
            del known.hosts[next(iter(known.hosts))]
        addresses = known.hosts.setdefault(key, {})
        if record.address in addresses or len(addresses) >= MAX_ADDRESSES:
            return False
        addresses[record.address] = None
        return True


def usable_address(address: str, *, index: int, on_loopback: bool) -> str | None:
    """Return an announced address in URL form; None if no provider can have it.

    Args:
        address: the address without zone.
        index: index of the receiving interface, the zone of an IPv6 link-local address.
        on_loopback: whether the receiving interface is loopback.
    """
    ip = ip_address(address)
    if ip.is_multicast or ip.is_unspecified or ip.is_loopback is not on_loopback:
        return None
    return f"{address}%{index}" if ip.version == 6 and ip.is_link_local else address  # noqa: PLR2004


def strings_of(text: bytes) -> dict[str, str | None]:
    """Return the first value of each key of a TXT record (RFC 6763, section 6.3).

    Invalid UTF-8 is replaced, and a truncated string ends the record.
    """
    values: dict[str, str | None] = {}
    for string in _strings(text):
        key, equals, value = string.decode("utf-8", "replace").partition("=")
        if key:
            values.setdefault(key, value if equals else None)
    return values


def _strings(text: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(text):
        end = at + 1 + text[at]
        if end > len(text):
            return
        yield text[at + 1 : end]
        at = end


def _is_due(instance: Instance, now: float) -> bool:
    return not instance.answered and instance.ask_at <= now


def _is_silent(instance: Instance, now: float) -> bool:
    """Return whether several queries for it had no response."""
    return not instance.answered and instance.asked >= SILENT_QUERIES and instance.ask_at <= now


def _question(sender: Sender, instance: Instance) -> Question:
    if instance.host is not None and instance.strings is not None:
        return Question(sender, instance.host, is_host=True)
    return Question(sender, instance.name, is_host=False)
