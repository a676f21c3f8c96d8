"""Reading files with secrets; refuses those that others can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from phase_boot.publish.errors import PublishError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ROOT: Final = 0


def read_private_file(what: str, path: Path, limit: int) -> bytes:
    """Return up to ``limit`` bytes of a file or pipe; ``what`` names it in an error.

    Links are followed, as ssh does: the owner and the mode of the target decide.

    Raises:
        PublishError: others may read or write it, another user owns it, or it cannot be read.
    """
    try:
        # Opening a pipe without a writer must not block before its owner is known.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(fd, "rb") as file:
            _check(what, path, os.fstat(fd))
            os.set_blocking(fd, True)
            return file.read(limit)
    except OSError as error:
        raise PublishError(f"{what} {path} cannot be read: {error.strerror}.") from error


def _check(what: str, path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISFIFO(found.st_mode):
        raise PublishError(f"{what} {path} is neither a file nor a pipe: name another.")
    if found.st_uid not in {os.geteuid(), _ROOT}:
        raise PublishError(
            f"{what} {path} belongs to user {found.st_uid}, who can read and change it, so it is "
            "not used: create your own."
        )
    if found.st_mode & _OTHERS:
        raise PublishError(
            f"{what} {path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}), so it is "
            f"not used: run `chmod 600 {path}`, or create a new one if it may have been read."
        )
