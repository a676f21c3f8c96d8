"""Requests, wants and peers of bitswap: the records that `bitswap_session.WantList` keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from phase_boot.content.cid import Cid

FIRST_WINDOW: Final = 4
"""Open wants of a peer that has sent nothing yet."""


class Link(Enum):
    """What is known of the connection with a peer."""

    DIALLING = auto()
    UP = auto()
    GONE = auto()
    LIED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A block that is wanted.

    Attributes:
        key: names the request; no other one has it while it is open.
        limit: bytes of the largest block that is accepted.
        peers: the ids of the peers that may have it, the preferred first.
        until: when it is given up.
    """

    key: int
    cid: Cid
    limit: int
    peers: Sequence[str]
    until: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a request: the block, or the reason why there is none.

    Attributes:
        key: the key of the request.
        peer: the peer that sent the block.
    """

    key: int
    block: bytes | None = None
    peer: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """A change of the want-list that a peer is to be told."""

    wanted: tuple[Cid, ...] = ()
    cancelled: tuple[Cid, ...] = ()


@dataclass(slots=True, kw_only=True)
class Want:
    """A block that requests wait for."""

    cid: Cid
    limit: int
    until: float
    peers: list[str] = field(default_factory=list)
    keys: set[int] = field(default_factory=set)
    asked: str = ""
    """The peer that it is requested from now."""
    tried: set[str] = field(default_factory=set)
    """Peers that were silent."""
    lacking: set[str] = field(default_factory=set)
    """Peers that said they lack it."""


@dataclass(slots=True)
class PeerState:
    """A peer, and what it was asked for."""

    link: Link = Link.DIALLING
    reason: str = ""
    lost_at: float = 0.0
    window: int = FIRST_WINDOW
    open: dict[Cid, None] = field(default_factory=dict)
    heard_at: float = 0.0
    """When it last sent a requested block, or was asked for one while it had no open want."""
    silences: int = 0
    """How often in a row its wants were given to others."""
    rests_until: float = 0.0
    idle_messages: int = 0
    asked: OrderedDict[Cid, None] = field(default_factory=OrderedDict)
    """The last wants that it was told of. A block of one that was withdrawn may still be on its
    way, and one that was withdrawn and wanted again may come twice."""
    wanted: list[Cid] = field(default_factory=list)
    cancelled: list[Cid] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether it is connected, or about to be."""
        return self.link in {Link.DIALLING, Link.UP}

    @property
    def load(self) -> float:
        """The share of its window that is used."""
        return len(self.open) / self.window
