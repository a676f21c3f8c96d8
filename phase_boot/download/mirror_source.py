"""A mirror, a LAN provider or a peer: serves artifacts as files, by HTTP with byte ranges."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from phase_boot.content.artifact import Artifact
from phase_boot.download.context import DownloadContext
from phase_boot.download.source import Source, read_span
from phase_boot.ports.fetcher import Buffer
from phase_boot.store.layout import entry_path
from phase_boot.url import below


class MirrorSource:
    """Implements `download.source.Source` for one artifact below a base URL."""

    max_lanes = 1
    """A mirror fills the line with one request."""
    patience_seconds = 0.0

    def __init__(self, context: DownloadContext, base: str, artifact: Artifact) -> None:
        """Take the base URL of the mirror layout, and the artifact."""
        self.name = base
        self.have: bytes | bytearray | None = None
        """Marks of the chunks that may be requested; None if every chunk may."""
        self.have_pending = False
        self._context = context
        self._url = below(base, entry_path(artifact.digest))

    def start_chunk(self) -> int:
        """Return the first chunk."""
        return 0

    def read(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield ``length`` bytes from ``offset`` on.

        Raises:
            FetchFailed: the file ends early, or the request failed.
        """
        return read_span(self._context, self._url, offset, length)


_: type[Source] = MirrorSource
