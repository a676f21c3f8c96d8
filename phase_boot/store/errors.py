"""Errors of the store; each text is one sentence with the cause and the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final


class StoreError(Exception):
    """An operation of the store failed; ``str`` is one sentence with the way out."""


class NotStored(StoreError):
    """The file does not exist."""


class Corrupt(StoreError):
    """An entry has other bytes than its name says. It was quarantined, or the text says why not."""


class NoSpace(StoreError):
    """No space is left, and nothing more may be evicted."""


class ReadOnly(StoreError):
    """The store cannot be written."""


class Busy(StoreError):
    """Another writer has the same file open."""


class DiskFailed(StoreError):
    """The disk reported an I/O error, or has something that is not a plain file."""


class ContentMismatch(StoreError):
    """The bytes that arrived are not those that were signed. They were discarded."""


_KINDS: Final[dict[int, tuple[type[StoreError], str]]] = {
    errno.ENOENT: (NotStored, "it is not there, so fetch it"),
    errno.ENOSPC: (NoSpace, "the disk is full, so use a larger one or remove something"),
    errno.EDQUOT: (NoSpace, "the quota is used up, so raise it or remove something"),
    errno.EROFS: (ReadOnly, "the disk is read-only, so boot without the cache or remount it"),
    errno.EACCES: (ReadOnly, "the permission is missing, so run as the owner of the store"),
    errno.EPERM: (ReadOnly, "the permission is missing, so run as the owner of the store"),
    errno.EAGAIN: (Busy, "another process is using it, so wait for that one"),
}


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Raise an OSError of the block as the matching StoreError; ``doing`` names the operation."""
    try:
        yield
    except OSError as error:
        fallback = f"{error.strerror or error}, so use another disk"
        kind, reason = _KINDS.get(error.errno or 0, (DiskFailed, fallback))
        raise kind(f"Could not {doing}: {reason}.") from error
