"""Artifacts of given bytes, and checks of the disk that holds them."""

from __future__ import annotations

import hashlib
import os

from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.store.content_store import ContentStore, VerifiedFile
from phase_boot.store.disk import Disk, Folder


def artifact(data: bytes, name: str = "kernel") -> Artifact:
    """Return the artifact whose content is ``data``."""
    return Artifact(name, Digest.of(data), len(data))


def store(cas: ContentStore, data: bytes, name: str = "kernel") -> Artifact:
    """Write ``data`` into the store from where an earlier writer stopped."""
    with cas.stream_writer(artifact(data, name)) as writer:
        writer.write(data[writer.offset :])
        writer.commit()
    return artifact(data, name)


def content(fetched: VerifiedFile) -> bytes:
    """Return the content as kexec reads it, and close the file."""
    with fetched:
        return os.pread(fetched.fileno(), fetched.artifact.size + 1, 0)


def names(disk: Disk, folder: Folder = Folder.ENTRIES) -> set[str]:
    """Return the names in a folder."""
    return {item.name for item in disk.items(folder)}


def assert_every_entry_is_what_it_is_called(disk: Disk) -> None:
    """Check that each entry of the store has the digest in its name."""
    for name in names(disk):
        fd = disk.open(Folder.ENTRIES, name)
        with os.fdopen(fd, "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == name
