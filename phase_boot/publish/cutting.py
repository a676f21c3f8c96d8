"""What a publisher needs for cutting artifacts into chunks, and nobody who boots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from phase_boot.content.chunk_list import ChunkList
from phase_boot.publish.errors import PublishError


class Source(Protocol):
    """An open file."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` more bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """How files are cut."""

    cut: Callable[[Source, int], ChunkList]
    """Reads an open file of so many bytes."""
    sizes: Callable[[int], range]
    """Returns the bytes that chunks of a file of so many bytes have; the last may have fewer."""


def cutting() -> Cutting:
    """Return how files are cut.

    Raises:
        PublishError: numpy is missing.
    """
    try:
        from phase_boot.content.chunker import build_chunk_list, params_for  # noqa: PLC0415 - numpy is an extra
    except ImportError as error:
        raise PublishError(
            f"Publishing cuts files into chunks, for which {error.name} is missing: install "
            "phase-boot with its extra, `pip install 'phase-boot[publish]'`."
        ) from None

    def sizes(size: int) -> range:
        cut = params_for(size)
        return range(cut.min_size, cut.max_size + 1)

    return Cutting(lambda file, size: build_chunk_list(file, params_for(size)), sizes)
