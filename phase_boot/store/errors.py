"""What can go wrong with a store, in sentences that say what helps."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final


class StoreError(Exception):
    """The store did not do what it was asked; ``str`` is one sentence with the way out."""


class NotStored(StoreError):
    """There is no such entry."""


class Corrupt(StoreError):
    """An entry is not what its name says. It was set aside unless the text says otherwise."""


class NoSpace(StoreError):
    """No room is left, and nothing more may be removed."""


class ReadOnly(StoreError):
    """The store cannot be written to."""


class Busy(StoreError):
    """Somebody else is writing the same thing, or holds it open."""


class DiskFailed(StoreError):
    """The disk answered with an error, or holds something that is not a plain file."""


class ContentMismatch(StoreError):
    """The bytes that arrived are not those that were signed. They were dropped."""


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
    """Turn an OSError from inside into the StoreError it means, saying what was being done."""
    try:
        yield
    except OSError as error:
        fallback = f"{error.strerror or error}, so use another disk"
        kind, reason = _KINDS.get(error.errno or 0, (DiskFailed, fallback))
        raise kind(f"Could not {doing}: {reason}.") from error
