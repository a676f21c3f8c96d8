"""A publisher's key on disk: readable by its owner and nobody else."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Final

from phase_boot.publish.errors import PublishError
from phase_boot.trust.keys import SigningKey

KIND: Final = "phase-boot-key-v1"
_MAX_BYTES: Final = 4096
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def new_key(path: Path) -> SigningKey:
    """Make a key, write it to a new file of mode 0600 and return it.

    Raises:
        PublishError: the file is there already, or cannot be written.
    """
    key = SigningKey.generate()
    text = json.dumps({"kind": KIND, "keyid": key.keyid, "seed": key.seed.hex()}, indent=2) + "\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
    except FileExistsError:
        raise PublishError(
            f"{path} is there already and a key is never overwritten: choose another name."
        ) from None
    except OSError as error:
        raise PublishError(f"The key cannot be written to {path}: {error.strerror}.") from error
    return key


def read_key(path: Path) -> SigningKey:
    """Read a key file.

    Raises:
        PublishError: others may read or write it, it is no key file, or it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            mode = os.fstat(fd).st_mode
            text = file.read(_MAX_BYTES)
    except OSError as error:
        raise PublishError(f"The key {path} cannot be read: {error.strerror}.") from error
    if mode & _OTHERS:
        raise PublishError(
            f"The key {path} is open to others (mode {stat.S_IMODE(mode):04o}), so it is not used: "
            f"run `chmod 600 {path}`, or make a new one if somebody may have read it."
        )
    return _parsed(text, path)


def _parsed(text: bytes, path: Path) -> SigningKey:
    try:
        fields = json.loads(text)
        kind, keyid = fields["kind"], fields["keyid"]
        key = SigningKey(bytes.fromhex(fields["seed"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        kind = None
    if kind != KIND:
        raise PublishError(f"{path} is no key file: make one with `phase-boot key new FILE`.")
    if key.keyid != keyid:
        raise PublishError(f"The key id in {path} is not that of the key: restore it from a copy.")
    return key
