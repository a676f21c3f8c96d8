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
from phase_boot.publish.errors import PublishError
from phase_boot.safefs.beneath import open_beneath
from phase_boot.store.layout import dag_path, entry_path, manifest_path
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document

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
        artifact: the file of a DAG; None for a manifest.
    """

    cid: Cid
    name: str
    manifest: bytes | None = None
    artifact: Artifact | None = None

    @property
    def size(self) -> int:
        """Bytes of the file of a DAG; 0 for a manifest."""
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
