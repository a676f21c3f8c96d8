"""What a publisher needs for cutting artifacts into chunks, and nobody who boots."""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedReader

from phase_boot.publish.errors import PublishError
from phase_boot.store.chunks import ChunkList


def cutting() -> Callable[[BufferedReader, int], ChunkList]:
    """Return what cuts an open file of so many bytes.

    Raises:
        PublishError: numpy is missing.
    """
    try:
        from phase_boot.store.chunker import chunk_list, cut_for  # noqa: PLC0415 - numpy is an extra
    except ImportError as error:
        raise PublishError(
            f"Publishing cuts files into chunks, for which {error.name} is missing: install "
            "phase-boot with its extra, `pip install 'phase-boot[publish]'`."
        ) from None
    return lambda file, size: chunk_list(file, cut_for(size))
