"""Port of peer sharing: serves pieces to peers that download the same, and posts to trackers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from policies.model import Reach

OFFSET_TYPE: Final = "Q"
"""Type code of the `array` with the piece offsets."""


@dataclass(frozen=True, slots=True)
class SharedArtifact:
    """An artifact whose present pieces are served to peers: its digest, DAG and size."""

    digest: Digest
    root: Cid
    size: int


class ShareHandle(Protocol):
    """A shared artifact."""

    def mark(self, bitfield: int) -> None:
        """Serve the pieces of ``bitfield`` from now on."""


class PeerSharing(Protocol):
    """Serves pieces to peers, and sends announcements to trackers."""

    @property
    def port(self) -> int:
        """The TCP port on which pieces are served."""

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """POST ``body`` to ``url`` and return the response body.

        Raises:
            FetchFailed: the request failed, the response is larger than ``limit`` bytes or late, or
                the server is beyond ``reach``.
        """

    async def clear(self) -> None:
        """Stop sharing, and close all shared files.

        Raises:
            FetchFailed: the process that serves the pieces does not respond.
        """

    async def share(
        self, share: SharedArtifact, file: int, piece_offsets: Sequence[int]
    ) -> ShareHandle:
        """Share an artifact from an open file, as soon as pieces of it are marked.

        Args:
            share: the artifact.
            file: the descriptor; it may be closed afterwards.
            piece_offsets: the offset of each piece, and the end of the last one.

        Raises:
            FetchFailed: the artifact cannot be shared.
        """


class PeerResponder(Protocol):
    """Serves the peers, in the process that reads the network."""

    def share(self, share: SharedArtifact, file: int, bitfield: int) -> None:
        """Serve the pieces of a file that a bitfield marks.

        The responder owns and closes both descriptors: of the file, and of the shared memory with
        the piece offsets and the bitfield.

        Raises:
            ValueError: the shared memory has another format.
        """

    def clear(self) -> None:
        """Stop sharing, and close all descriptors."""

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Implement `PeerSharing.post`."""
