"""Backend of a provider: what it serves, and opening files without following links."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Final, Protocol

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.safefs.beneath import open_beneath
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import MAX_RECORD, verify_record
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES

IMMUTABLE: Final = "public, max-age=31536000, immutable"
CAR_TYPE: Final = "application/vnd.ipld.car"


@dataclass(frozen=True, slots=True)
class ServedFile:
    """An open file and its HTTP metadata."""

    file: BufferedReader | BytesIO
    size: int
    etag: str
    """A strong entity tag, in quotes; for an artifact, the sha256 by which it is named."""
    content_type: str
    cache_control: str
    has_range: Callable[[int, int], bool] | None = None
    """Whether a range (offset, count) is available; None if the whole file is."""


@dataclass(frozen=True, slots=True, order=True)
class OfferedVersion:
    """A version that a backend offers: the facts of its announcement."""

    channel: str
    arch: Arch
    version: str
    cid: str


class Backend(Protocol):
    """What a provider serves. Its methods block; what cannot be read counts as absent."""

    def open(self, path: str) -> ServedFile | None:
        """Open the file that the mirror layout has at ``path``, or return None."""

    def offers(self) -> frozenset[OfferedVersion]:
        """Return the versions that are offered now."""

    def dags(self) -> Mapping[Cid, Digest]:
        """Return the DAG roots of the offered artifacts, each with its artifact's digest."""


def dags_in(manifests: Iterable[Manifest]) -> dict[Cid, Digest]:
    """Return the DAG roots that manifests name, each with its artifact's digest."""
    return {
        root: manifest.artifacts[name].digest
        for manifest in manifests
        for name, root in manifest.dags.items()
    }


def artifact_file(file: BufferedReader, digest: Digest) -> ServedFile:
    """Return an artifact as a served file; the client verifies its hash."""
    size = os.fstat(file.fileno()).st_size
    return ServedFile(file, size, f'"{digest.hex}"', "application/octet-stream", IMMUTABLE)


def dag_index_file(file: BufferedReader, dag: Cid) -> ServedFile:
    """Return the interior nodes of a DAG as a served file; the client verifies their hashes."""
    size = os.fstat(file.fileno()).st_size
    return ServedFile(file, size, f'"{dag}.interior"', CAR_TYPE, IMMUTABLE)


def document_file(file: BufferedReader | BytesIO) -> ServedFile | None:
    """Return a manifest or root as a served file, or None if it exceeds MAX_BYTES."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > MAX_BYTES:
        file.close()
        return None
    etag = hashlib.file_digest(file, "sha256").hexdigest()
    return ServedFile(file, size, f'"{etag}"', "application/json", "no-cache")


def record_file(file: BufferedReader, name: IpnsName, now: datetime) -> ServedFile | None:
    """Return an IPNS record as a served file, or None if it exceeds MAX_RECORD.

    A record that no client would accept is served too, and not cached: the client names its fault.
    """
    with file:
        raw = file.read(MAX_RECORD + 1)
    return record_of(raw, name, now) if len(raw) <= MAX_RECORD else None


def record_of(raw: bytes, name: IpnsName, now: datetime) -> ServedFile:
    """Return the bytes of an IPNS record as a served file."""
    etag = f'"{Digest.of(raw).hex}"'
    return ServedFile(BytesIO(raw), len(raw), etag, RECORD_TYPE, _record_cache(raw, name, now))


def _record_cache(raw: bytes, name: IpnsName, now: datetime) -> str:
    """Return the Cache-Control of a record: its TTL, which ends with its validity."""
    try:
        record = verify_record(raw, name, now)
    except Refusal:
        return "no-cache"
    seconds = min(record.ttl_seconds, (record.validity - now).total_seconds())
    return f"public, max-age={int(seconds)}"


def open_if_regular(root: Path, path: str) -> BufferedReader | None:
    """Open a regular file below ``root`` without following any link; None if there is none."""
    try:
        return open_beneath(root, path)
    except OSError:
        return None
