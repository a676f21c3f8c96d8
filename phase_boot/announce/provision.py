"""How much of a SITE an IPFS node holds and provides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final

from phase_boot.announce.site_roots import SiteRoot

KIND: Final = "blocks"
"""The kind of its line, beside those of the record."""


class Fault(StrEnum):
    """Why a root is not provided."""

    LACKING = auto()
    """The node does not hold the whole DAG."""
    NOT_KEPT = auto()
    """The node answered that it took the blocks, and does not hold them."""
    NOT_SENT = auto()
    """A file of the SITE is absent or damaged."""
    NOT_PROVIDED = auto()
    """The node holds it and could not put its record into the DHT."""
    UNFOUND = auto()
    """The DHT names no provider."""
    ALONE = auto()
    """The node has no peers: it names itself as provider, which no other node learns."""
    FAILED = auto()
    """The node did not answer, or with an error."""


_AGAIN: Final = "run `phase-boot announce` again"
_CONNECT: Final = f"connect the node with others (`ipfs swarm connect`), and {_AGAIN}"
_WAYS_OUT: Final = {
    Fault.LACKING: f"{_AGAIN} with --import",
    Fault.NOT_KEPT: "check the node (`ipfs repo verify`), or leave it out",
    Fault.NOT_SENT: "run `phase-boot verify` on the SITE",
    Fault.NOT_PROVIDED: _CONNECT,
    Fault.ALONE: _CONNECT,
    Fault.UNFOUND: f"{_AGAIN} with the --kubo node that holds the SITE",
    Fault.FAILED: f"check the URL and the node, and {_AGAIN}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RootState:
    """One root of the SITE at a node.

    Attributes:
        held: whether the node holds it and everything below it.
        imported: whether this run put it there.
        provided: whether the node put its record into the DHT in this run.
        found: whether the DHT names a provider.
        reason: what is wrong, if anything is.
    """

    root: SiteRoot
    held: bool = False
    imported: bool = False
    provided: bool = False
    found: bool = False
    fault: Fault | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """All roots of the SITE at a node.

    Attributes:
        place: the base URL of its RPC API.
        total: the number of roots of the SITE.
        roots: those that were looked at: all, or those up to an error of the node.
        sends: whether they were imported or provided; else the node was asked alone.
    """

    place: str
    total: int
    roots: tuple[RootState, ...]
    sends: bool

    @property
    def held(self) -> int:
        """How many roots the node holds."""
        return sum(each.held for each in self.roots)

    @property
    def imported(self) -> int:
        """How many roots were put there in this run."""
        return sum(each.imported for each in self.roots)

    @property
    def provided(self) -> int:
        """How many roots the node provides since this run."""
        return sum(each.provided for each in self.roots)

    @property
    def found(self) -> int:
        """For how many roots the DHT names a provider."""
        return sum(each.found for each in self.roots)

    @property
    def good(self) -> bool:
        """Whether the node provides every root; for one that was asked, whether all are found."""
        return (self.provided if self.sends else self.found) == self.total

    @property
    def fault(self) -> RootState | None:
        """The root at which the node failed, else the first one with a fault."""
        bad = [each for each in self.roots if each.fault is not None]
        failed = (each for each in bad if each.fault is Fault.FAILED)
        return next(failed, bad[0] if bad else None)

    def line(self) -> str:
        """Return it as one line: the node, what it holds and provides, and the way out."""
        mark = "ok " if self.good else "BAD"
        text = f"{mark} {KIND} {self.place}: holds {self.held} of {self.total} roots"
        if self.imported:
            text += f" ({self.imported} imported)"
        text += (
            f", provides {self.provided}"
            if self.sends
            else f"; the DHT names a provider of {self.found}"
        )
        bad = self.fault
        if bad is None or bad.fault is None:
            return text
        return f"{text} ({bad.root.name}: {bad.reason}): {_WAYS_OUT[bad.fault]}"

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        bad = self.fault
        return json.dumps(
            {
                "kind": KIND,
                "place": self.place,
                "good": self.good,
                "roots": self.total,
                "held": self.held,
                "imported": self.imported,
                "provided": self.provided if self.sends else None,
                "found": None if self.sends else self.found,
                "fault": None if bad is None else bad.fault,
                "cid": None if bad is None else str(bad.root.cid),
                "reason": "" if bad is None else bad.reason,
            }
        )
