"""The files of a SITE that may be served, opened so that nothing else can be."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Final, Protocol

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, raw_cid
from phase_boot.content.digest import Digest
from phase_boot.store.layout import (
    manifest_path,
    read_dag_path,
    read_entry_path,
    read_manifest_path,
    read_root_path,
)
from phase_boot.trust.document import MAX_BYTES, read_document
from phase_boot.trust.fields import parse_channel
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal

IMMUTABLE: Final = "public, max-age=31536000, immutable"
CAR_TYPE: Final = "application/vnd.ipld.car"

# Never through a link, never hanging on a pipe.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Served:
    """An open file of the SITE and what HTTP says about it."""

    file: BufferedReader | BytesIO
    size: int
    etag: str
    """Its sha256 in quotes; of an artifact, the one it is called by."""
    content_type: str
    cache_control: str
    holds: Callable[[int, int], bool] | None = None
    """Whether so many bytes from an offset on are there; None where all are."""


@dataclass(frozen=True, slots=True, order=True)
class Offer:
    """A version that the SITE offers: enough to announce it."""

    channel: str
    arch: Arch
    version: str
    cid: str


class Goods(Protocol):
    """What a provider hands out. Its methods block; what cannot be had is not there."""

    def open(self, path: str) -> Served | None:
        """Open the file that the mirror layout has at ``path``, or return None."""

    def offers(self) -> frozenset[Offer]:
        """Return what is offered now."""

    def dags(self) -> Mapping[Cid, Digest]:
        """Return the DAG of each artifact of these versions that has one, and which it is."""


@dataclass(frozen=True, slots=True)
class SiteGoods:
    """Implements `Goods` for the SITE of a publisher, or a copy of one."""

    root: Path

    def open(self, path: str) -> Served | None:
        """Open a file of the SITE."""
        return open_served(self.root, path)

    def offers(self) -> frozenset[Offer]:
        """Return the version of each channel and architecture."""
        return find_offers(self.root)

    def dags(self) -> Mapping[Cid, Digest]:
        """Return the DAGs that the manifests name."""
        try:
            return dags_of(manifest for manifest, _ in _manifests(self.root))
        except OSError:
            return {}


def dags_of(manifests: Iterable[Manifest]) -> dict[Cid, Digest]:
    """Return the DAGs that manifests name, with the artifact that each is of."""
    return {
        root: manifest.artifacts[name].digest
        for manifest in manifests
        for name, root in manifest.dags.items()
    }


def open_served(root: Path, path: str) -> Served | None:
    """Open the file that the mirror layout has at ``path``, or return None.

    Nothing is decoded or normalised: a path is a name of the layout, letter by letter, or nothing.
    """
    digest, dag = read_entry_path(path), read_dag_path(path)
    if digest is None and dag is None and not _names_document(path):
        return None
    file = open_plain(root, path)
    if file is None:
        return None
    if dag is not None:
        return served_index(file, dag)
    return served_document(file) if digest is None else served_entry(file, digest)


def served_entry(file: BufferedReader, digest: Digest) -> Served:
    """Return an artifact as it is served; whoever takes it hashes it."""
    size = os.fstat(file.fileno()).st_size
    return Served(file, size, f'"{digest.hex}"', "application/octet-stream", IMMUTABLE)


def served_index(file: BufferedReader, dag: Cid) -> Served:
    """Return the interior nodes of a file as they are served; whoever takes them hashes them."""
    size = os.fstat(file.fileno()).st_size
    return Served(file, size, f'"{dag}.interior"', CAR_TYPE, IMMUTABLE)


def served_document(file: BufferedReader | BytesIO) -> Served | None:
    """Return a manifest or a root as it is served, or None if it is larger than any may be."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > MAX_BYTES:
        file.close()
        return None
    etag = hashlib.file_digest(file, "sha256").hexdigest()
    return Served(file, size, f'"{etag}"', "application/json", "no-cache")


def _names_document(path: str) -> bool:
    """Say whether a manifest or a root has this path; a root's draft is nobody's business yet."""
    return read_manifest_path(path) is not None or read_root_path(path) is not None


def find_offers(root: Path) -> frozenset[Offer]:
    """Return what the SITE offers now; what is no manifest, or in the wrong folder, is left out."""
    try:
        return frozenset(_offers(root))
    except OSError:
        # The SITE is being replaced, or its disk is gone: nothing is offered meanwhile.
        return frozenset()


def _offers(root: Path) -> Iterator[Offer]:
    for each, raw in _manifests(root):
        cid = raw_cid(Digest.of(raw))
        yield Offer(each.channel, each.arch, str(each.version), cid)


def _manifests(root: Path) -> Iterator[tuple[Manifest, bytes]]:
    for folder in root.iterdir():
        try:
            channel = parse_channel(folder.name)
        except ValueError:
            continue
        for arch in Arch:
            file = open_plain(root, manifest_path(channel, arch))
            if file is None:
                continue
            with file:
                raw = file.read(MAX_BYTES + 1)
            try:
                manifest = Manifest.of(read_document(raw))
            except Refusal:
                continue
            if (manifest.channel, manifest.arch) == (channel, arch):
                yield manifest, raw


def open_plain(root: Path, path: str) -> BufferedReader | None:
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
