"""What IPFS nodes hold of a SITE: its manifests, and the DAGs of the files that they name.

A manifest is one raw block. The DAG of a file is sent as a CAR of all its blocks, built from
``dag/<cid>.car`` and the file.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from phase_boot.content import car
from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList, ChunkTable
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import read_chunk_list
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import IndexMismatch, InvalidDag
from phase_boot.content.list_file import list_car, list_root
from phase_boot.publish.errors import PublishError
from phase_boot.safefs.beneath import open_beneath
from phase_boot.store.layout import dag_path, entry_path, manifest_path
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document

MAX_LIST: Final = 64 * 1024 * 1024
"""Bytes of the longest chunk list: a million chunks take 55 MB."""
_COPY_BYTES: Final = 256 * 1024


class DamagedFile(Exception):
    """A file of the SITE cannot be sent; ``str`` names it and says why."""


@dataclass(frozen=True, slots=True)
class SiteRoot:
    """A block of a SITE from which everything below it is found.

    Attributes:
        cid: its CID.
        name: the path of the manifest, with the name of the file for a DAG.
        manifest: the bytes of a manifest; None for the DAG of a file.
        artifact: the file of a DAG; None for another root.
        listed: the DAG of whose chunks this is the list; None for another root.
    """

    cid: Cid
    name: str
    manifest: bytes | None = None
    artifact: Artifact | None = None
    listed: Cid | None = None

    @property
    def size(self) -> int:
        """Bytes of the file of a DAG; 0 for a manifest and for a list, which are small."""
        return 0 if self.artifact is None else self.artifact.size


def site_roots(site: Path, releases: Iterable[tuple[str, Arch]]) -> tuple[SiteRoot, ...]:
    """Return the manifest of each channel and architecture, and its DAGs, each CID once.

    Raises:
        PublishError: a manifest cannot be read.
    """
    found: dict[Cid, SiteRoot] = {}
    for channel, arch in releases:
        for root in _roots_of(site, manifest_path(channel, arch)):
            found.setdefault(root.cid, root)
    return tuple(found.values())


def _roots_of(site: Path, path: str) -> Iterator[SiteRoot]:
    try:
        with open_beneath(site, path) as file:
            raw = file.read(MAX_BYTES + 1)
        manifest = Manifest.of(read_document(raw))
    except OSError as error:
        raise PublishError(f"{site / path} cannot be read: {error.strerror}.") from error
    except Refusal as refusal:
        raise PublishError(f"{site / path} is no manifest: {refusal}") from None
    yield SiteRoot(Cid.of(Codec.RAW, raw), path, manifest=raw)
    for name, cid in manifest.dags.items():
        yield SiteRoot(cid, f"{path} {name}", artifact=manifest.artifacts[name])
    for name, cid in manifest.chunk_lists.items():
        if name in manifest.dags:
            yield SiteRoot(cid, f"{path} {name}, its chunk list", listed=manifest.dags[name])
    for job in manifest.jobs:
        if job.cid is not None:
            module = Artifact(job.name, job.module, job.size)
            yield SiteRoot(job.cid, f"{path} {job.name}", artifact=module)


def dag_car(site: Path, root: Cid, artifact: Artifact) -> Generator[bytes, None, None]:
    """Yield a CAR of the whole DAG of a file: its nodes level by level, then each leaf once.

    The file is read in order, one leaf at a time. Each leaf is hashed before it is yielded.

    Raises:
        DamagedFile: the file or its nodes are absent or damaged.
    """
    path = entry_path(artifact.digest)
    try:
        with open_beneath(site, path) as content:
            if root.codec is Codec.RAW:
                yield car.header(root)
                chunks = read_chunk_list(root, artifact.size, lambda _offset, _length: b"")
            else:
                with open_beneath(site, dag_path(root)) as nodes:
                    chunks = _chunks(nodes, root, artifact.size)
                    nodes.seek(0)
                    while piece := nodes.read(_COPY_BYTES):
                        yield piece
            yield from _leaves(path, content, chunks)
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error
    except (InvalidDag, IndexMismatch) as error:
        raise DamagedFile(f"{dag_path(root)} is not the DAG of the file: {error.reason}") from None


def root_car(site: Path, root: SiteRoot) -> Generator[bytes, None, None] | None:
    """Return the CAR of all blocks below a root; None for a manifest, which is one block.

    Raises:
        DamagedFile: while it is iterated, if the files are absent or damaged.
    """
    if root.artifact is not None:
        return dag_car(site, root.cid, root.artifact)
    return None if root.listed is None else chunk_list_car(site, root.cid, root.listed)


def chunk_list_car(site: Path, root: Cid, dag: Cid) -> Generator[bytes, None, None]:
    """Yield a CAR of the list of the chunks of a DAG, the file whose CID is ``root``.

    Raises:
        DamagedFile: ``dag/<cid>.car`` is absent, too long, or another file.
    """
    path = dag_path(dag)
    try:
        with open_beneath(site, path) as file:
            nodes = file.read(MAX_LIST + 1)
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error
    if len(nodes) > MAX_LIST or list_root(nodes) != root:
        raise DamagedFile(f"{path} is not the chunk list that the manifest names")
    yield from list_car(nodes)


def _chunks(nodes: BinaryIO, root: Cid, size: int) -> ChunkList:
    def read(offset: int, length: int) -> bytes:
        nodes.seek(offset)
        return nodes.read(length)

    return read_chunk_list(root, size, read)


def _leaves(path: str, content: BinaryIO, chunks: ChunkList) -> Iterator[bytes]:
    first = ChunkTable(chunks)
    for number, chunk in enumerate(chunks):
        if first.find(chunk.digest) != number:
            continue
        content.seek(chunk.offset)
        data = content.read(chunk.size)
        if sha256(data).digest() != chunk.digest:
            raise DamagedFile(f"{path} has other bytes than its DAG")
        yield car.section_header(Cid(Codec.RAW, Digest(chunk.digest.hex())), len(data)) + data
