"""Cutting artifacts into chunks; numpy comes with the extra ``publish``.

Only a publisher cuts files. A client checks hashes, so the seed has neither numpy nor the chunker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from phase_boot.content.dag_builder import FileDag, build_dag
from phase_boot.publish.errors import PublishError


class ByteSource(Protocol):
    """An open file."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` more bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Chunker:
    """The functions that need numpy."""

    build: Callable[[ByteSource, int], FileDag]
    """Reads an open file of the given size, and returns the DAG over its chunks."""
    sizes: Callable[[int], range]
    """Returns the chunk sizes for a file of the given size; the last chunk may be smaller."""


def load_chunker() -> Chunker:
    """Import the chunker.

    Raises:
        PublishError: numpy is missing.
    """
    try:
        from phase_boot.content.chunker import build_chunk_list, params_for  # noqa: PLC0415 - numpy is an extra
    except ImportError as error:
        raise PublishError(
            f"Publishing cuts files into chunks, which needs the missing {error.name}: install "
            "phase-boot with its extra, `pip install 'phase-boot[publish]'`."
        ) from None

    def build(source: ByteSource, size: int) -> FileDag:
        return build_dag(build_chunk_list(source, params_for(size)))

    def sizes(size: int) -> range:
        params = params_for(size)
        return range(params.min_size, params.max_size + 1)

    return Chunker(build, sizes)
