"""Key files: a signing key on disk, plain or encrypted with a passphrase, mode 0600."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from phase_boot.publish.errors import PublishError
from phase_boot.publish.folder_lock import locked
from phase_boot.publish.keys.passphrase import Attempts, prompt_attempts
from phase_boot.publish.keys.private_file import read_private_file
from phase_boot.safefs.atomic import PRIVATE, create, replace
from phase_boot.trust.keys import SigningKey, parse_keyid
from phase_boot.trust.passphrase_box import (
    MODERATE,
    Cost,
    NoMemory,
    Sealed,
    WrongPassphrase,
    seal,
    unseal,
)

KIND: Final = "phase-boot-key-v1"
SEALED_KIND: Final = "phase-boot-sealed-key-v1"
_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The contents of a key file: the key id, and the key or its encrypted form."""

    keyid: str
    """The key id in the file; decrypting the key checks it."""
    secret: SigningKey | Sealed


def new_key(path: Path, chosen: bytes | None = None) -> SigningKey:
    """Create a key in a new file of mode 0600 and return it; ``chosen`` encrypts it.

    Raises:
        PublishError: the file exists, or cannot be written.
    """
    key = SigningKey.generate()
    data = encode_key(key, chosen)
    try:
        create(path, data, PRIVATE)
    except FileExistsError:
        raise PublishError(
            f"{path} exists, and a key is never overwritten: choose another name."
        ) from None
    except OSError as error:
        raise PublishError(f"The key cannot be written to {path}: {error.strerror}.") from error
    return key


def change_passphrase(path: Path, key: SigningKey, chosen: bytes | None) -> None:
    """Rewrite the file of ``key``, encrypted with ``chosen``, or plain if that is None.

    Raises:
        PublishError: the file cannot be written; it is unchanged then.
    """
    # As with ssh-keygen, a link stays and its target changes.
    target = path.resolve()
    with locked(target.parent):
        replace(target, encode_key(key, chosen), PRIVATE)


def read_key(path: Path, attempts: Attempts = prompt_attempts) -> SigningKey:
    """Read a key file, and decrypt it with one of ``attempts`` if necessary.

    Raises:
        PublishError: others may read or write it, it is not a key file, no attempt opens it, or it
            cannot be read.
    """
    found = read_keyfile(path)
    if isinstance(found.secret, SigningKey):
        return found.secret
    key = _open_sealed(found.secret, path, attempts(path))
    if key.keyid != found.keyid:
        raise _not_its_own(path)
    return key


def read_keyfile(path: Path) -> KeyFile:
    """Read a key file without decrypting it.

    Raises:
        PublishError: others may read or write it, it is not a key file, or it cannot be read.
    """
    text = read_private_file("The key", path, _MAX_BYTES)
    try:
        return _parsed(json.loads(text), path)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PublishError(
            f"{path} is not a key file: create one with `phase-boot key new FILE`."
        ) from None


def _open_sealed(sealed: Sealed, path: Path, attempts: Iterable[bytes]) -> SigningKey:
    try:
        for attempt in attempts:
            try:
                return SigningKey(unseal(sealed, attempt))
            except WrongPassphrase:
                continue
    except NoMemory:
        raise PublishError(
            f"This machine has less than the {sealed.cost.memory >> 20} MiB of memory that opening "
            f"{path} takes: use another machine."
        ) from None
    except ValueError:
        raise _not_its_own(path) from None
    raise PublishError(
        f"No given passphrase opens {path}: it is a wrong one, or the file was changed "
        "and must be restored from a copy."
    )


def _parsed(fields: Mapping[str, Any], path: Path) -> KeyFile:
    keyid = parse_keyid(fields["keyid"])
    if fields["kind"] == SEALED_KIND:
        return KeyFile(keyid, _sealed(fields, path))
    if fields["kind"] != KIND:
        raise ValueError
    key = SigningKey(bytes.fromhex(fields["seed"]))
    if key.keyid != keyid:
        raise _not_its_own(path)
    return KeyFile(keyid, key)


def _sealed(fields: Mapping[str, Any], path: Path) -> Sealed:
    passes, memory = fields["passes"], fields["memory"]
    if type(passes) is not int or type(memory) is not int:
        raise ValueError
    try:
        cost = Cost(passes, memory)
    except ValueError as error:
        raise PublishError(
            f"{path} has parameters outside the limits ({error}): restore it from a copy."
        ) from None
    return Sealed(cost, bytes.fromhex(fields["salt"]), bytes.fromhex(fields["box"]))


def encode_key(key: SigningKey, chosen: bytes | None, cost: Cost = MODERATE) -> bytes:
    """Return the bytes of a key file. The kind implies argon2id and secretbox.

    Raises:
        PublishError: this machine lacks the memory that encryption takes.
    """
    fields: dict[str, str | int]
    if chosen is None:
        fields = {"kind": KIND, "keyid": key.keyid, "seed": key.seed.hex()}
    else:
        try:
            sealed = seal(key.seed, chosen, cost)
        except NoMemory:
            raise PublishError(
                f"This machine has less than the {cost.memory >> 20} MiB of memory that encryption "
                "takes: use another machine."
            ) from None
        fields = {
            "kind": SEALED_KIND,
            "keyid": key.keyid,
            "passes": sealed.cost.passes,
            "memory": sealed.cost.memory,
            "salt": sealed.salt.hex(),
            "box": sealed.box.hex(),
        }
    return f"{json.dumps(fields, indent=2)}\n".encode("ascii")


def _not_its_own(path: Path) -> PublishError:
    return PublishError(f"The key id in {path} is not that of the key: restore it from a copy.")
