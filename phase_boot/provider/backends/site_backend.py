"""Backend for a SITE: the release files of a publisher, or a mirror of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, raw_cid
from phase_boot.content.digest import Digest
from phase_boot.provider.backends.backend import (
    OfferedVersion,
    ServedFile,
    artifact_file,
    dag_index_file,
    dags_in,
    document_file,
    open_if_regular,
    record_file,
)
from phase_boot.store.layout import (
    manifest_path,
    read_dag_path,
    read_entry_path,
    read_manifest_path,
    read_record_path,
    read_root_path,
)
from phase_boot.trust.fields import parse_channel
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document


@dataclass(frozen=True, slots=True)
class SiteBackend:
    """Implements `Backend` for the SITE of a publisher or a mirror of it."""

    root: Path

    def open(self, path: str) -> ServedFile | None:
        """Open a file of the SITE."""
        return open_served(self.root, path)

    def offers(self) -> frozenset[OfferedVersion]:
        """Return the version of each channel and architecture."""
        return find_offers(self.root)

    def dags(self) -> Mapping[Cid, Digest]:
        """Return the DAGs that the manifests name."""
        try:
            return dags_in(manifest for manifest, _ in _manifests(self.root))
        except OSError:
            return {}


def open_served(root: Path, path: str) -> ServedFile | None:
    """Open the file that the mirror layout has at ``path``, or return None.

    The path is neither decoded nor normalised: it matches the layout exactly, or nothing.
    """
    digest, dag, name = read_entry_path(path), read_dag_path(path), read_record_path(path)
    if not (digest or dag or name or _is_document_path(path)):
        return None
    file = open_if_regular(root, path)
    if file is None:
        return None
    if dag is not None:
        return dag_index_file(file, dag)
    if name is not None:
        return record_file(file, name, datetime.now(UTC))
    return document_file(file) if digest is None else artifact_file(file, digest)


def _is_document_path(path: str) -> bool:
    """Return whether the path is that of a manifest or root; drafts of a root are not served."""
    return read_manifest_path(path) is not None or read_root_path(path) is not None


def find_offers(root: Path) -> frozenset[OfferedVersion]:
    """Return the offered versions; skip invalid manifests and those in a wrong folder."""
    try:
        return frozenset(_offers(root))
    except OSError:
        # The SITE is being replaced or its disk is gone: it offers nothing meanwhile.
        return frozenset()


def _offers(root: Path) -> Iterator[OfferedVersion]:
    for each, raw in _manifests(root):
        cid = raw_cid(Digest.of(raw))
        yield OfferedVersion(each.channel, each.arch, str(each.version), cid)


def _manifests(root: Path) -> Iterator[tuple[Manifest, bytes]]:
    for folder in root.iterdir():
        try:
            channel = parse_channel(folder.name)
        except ValueError:
            continue
        for arch in Arch:
            file = open_if_regular(root, manifest_path(channel, arch))
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
