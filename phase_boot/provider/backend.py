"""The files of a SITE that may be served, opened so that nothing else can be."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Final, Protocol

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.trust.document import MAX_BYTES
from phase_boot.trust.manifest import Manifest

IMMUTABLE: Final = "public, max-age=31536000, immutable"
CAR_TYPE: Final = "application/vnd.ipld.car"

# Never through a link, never hanging on a pipe.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class ServedFile:
    """An open file of the SITE and what HTTP says about it."""

    file: BufferedReader | BytesIO
    size: int
    etag: str
    """Its sha256 in quotes; of an artifact, the one it is called by."""
    content_type: str
    cache_control: str
    has_range: Callable[[int, int], bool] | None = None
    """Whether so many bytes from an offset on are there; None where all are."""


@dataclass(frozen=True, slots=True, order=True)
class OfferedVersion:
    """A version that the SITE offers: enough to announce it."""

    channel: str
    arch: Arch
    version: str
    cid: str


class Backend(Protocol):
    """What a provider hands out. Its methods block; what cannot be had is not there."""

    def open(self, path: str) -> ServedFile | None:
        """Open the file that the mirror layout has at ``path``, or return None."""

    def offers(self) -> frozenset[OfferedVersion]:
        """Return what is offered now."""

    def dags(self) -> Mapping[Cid, Digest]:
        """Return the DAG of each artifact of these versions that has one, and which it is."""


def dags_in(manifests: Iterable[Manifest]) -> dict[Cid, Digest]:
    """Return the DAGs that manifests name, with the artifact that each is of."""
    return {
        root: manifest.artifacts[name].digest
        for manifest in manifests
        for name, root in manifest.dags.items()
    }


def artifact_file(file: BufferedReader, digest: Digest) -> ServedFile:
    """Return an artifact as it is served; whoever takes it hashes it."""
    size = os.fstat(file.fileno()).st_size
    return ServedFile(file, size, f'"{digest.hex}"', "application/octet-stream", IMMUTABLE)


def dag_index_file(file: BufferedReader, dag: Cid) -> ServedFile:
    """Return the interior nodes of a file as they are served; whoever takes them hashes them."""
    size = os.fstat(file.fileno()).st_size
    return ServedFile(file, size, f'"{dag}.interior"', CAR_TYPE, IMMUTABLE)


def document_file(file: BufferedReader | BytesIO) -> ServedFile | None:
    """Return a manifest or a root as it is served, or None if it is larger than any may be."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > MAX_BYTES:
        file.close()
        return None
    etag = hashlib.file_digest(file, "sha256").hexdigest()
    return ServedFile(file, size, f'"{etag}"', "application/json", "no-cache")


def open_regular(root: Path, path: str) -> BufferedReader | None:
    """Open a plain file below ``root``, through no links at all; None if there is none."""
    *folders, name = path.split("/")
    try:
        place = os.open(root, _FOLDER)
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=place)
                os.close(place)
                place = inner
            fd = os.open(name, _FILE, dir_fd=place)
        finally:
            os.close(place)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    return None
