"""Whoever fetches the same at the same time: telling them what we hold, and handing it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from policies.model import Reach

OFFSET_TYPE: Final = "Q"
"""How `array` names the numbers by which it is said where a stretch begins."""


@dataclass(frozen=True, slots=True)
class SharedArtifact:
    """An artifact that we hand on as far as we hold it: its name, its DAG, and its size."""

    digest: Digest
    root: Cid
    size: int


class ShareHandle(Protocol):
    """An artifact that is handed on."""

    def mark(self, held: int) -> None:
        """Hand on these stretches of it from now on."""


class PeerSharing(Protocol):
    """Others who fetch, as far as we serve them and tell a provider of it."""

    @property
    def port(self) -> int:
        """Where we answer."""

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Send ``body`` there and return the answer.

        Raises:
            FetchFailed: nobody takes it, the answer is larger than ``limit`` bytes or late, or it
                lies beyond ``reach``.
        """

    async def clear(self) -> None:
        """Hand on nothing any more of what was shared, and hold no file of it open.

        Raises:
            FetchFailed: nobody takes the order.
        """

    async def share(self, share: SharedArtifact, file: int, cuts: Sequence[int]) -> ShareHandle:
        """Hand on an artifact out of an open file, as soon as some of it is marked.

        Args:
            share: what it is.
            file: its descriptor; it may be closed afterwards.
            cuts: where each stretch begins, and the last one's end.

        Raises:
            FetchFailed: it cannot be handed on.
        """


class PeerResponder(Protocol):
    """The one who answers them, in the process that reads the network."""

    def share(self, share: SharedArtifact, file: int, marks: int) -> None:
        """Hand on what is marked of a file; both descriptors are its own from here on.

        Raises:
            ValueError: the marks are none.
        """

    def clear(self) -> None:
        """Hand on nothing any more, and close what it was given."""

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Do what `PeerSharing.post` says."""
