"""Signatures are out of a fuzzer's reach: what it wrote is also read as if it were signed."""

from __future__ import annotations

from collections.abc import Callable

from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import read_document


def as_signed(data: bytes, without: str, sign: Callable[[dict[str, object]], bytes]) -> bytes:
    """Return what ``sign`` makes of the document in ``data``, less its field ``without``.

    Bytes that are no document come back as they are.
    """
    try:
        document = read_document(data)
    except Refusal:
        return data
    document.pop(without, None)
    return sign(document)
