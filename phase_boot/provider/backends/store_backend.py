"""Backend for the store of a booted machine: its artifacts, roots, manifests and IPNS records."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Final

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
    entry_path,
    kept_record_name,
    read_dag_path,
    read_entry_path,
    read_manifest_path,
    read_record_path,
    read_root_path,
)
from phase_boot.trust.manifest import REQUIRED, Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.rollback import MAX_STATE_BYTES, TRUST_FOLDER, entries_of
from phase_boot.trust.strict_json import canonical

TRUST_STATE: Final = f"{TRUST_FOLDER}/state.json"
CAS_FOLDER: Final = "cas"
DAG_FOLDER: Final = f"{CAS_FOLDER}/dag"
"""Folders of a store, in `phase-boot daemon --store` and in the Cache partition."""


@dataclass(frozen=True, slots=True)
class StoreBackend:
    """Implements `provider.backends.backend.Backend` for a store.

    A version is offered if all of its required artifacts are complete. Nothing is verified here:
    the client verifies, as for any source.
    """

    folder: Path

    def open(self, path: str) -> ServedFile | None:
        """Open an artifact, a stored root or record, or the manifest of a complete version."""
        if (digest := read_entry_path(path)) is not None:
            file = open_if_regular(self.folder, entry_path(digest))
            return None if file is None else artifact_file(file, digest)
        if (root := read_dag_path(path)) is not None:
            artifact = self.dags().get(root)
            name = f"{DAG_FOLDER}/{'' if artifact is None else artifact.hex}.{root}"
            file = open_if_regular(self.folder, name)
            return None if file is None else dag_index_file(file, root)
        if (version := read_root_path(path)) is not None:
            file = open_if_regular(self.folder, f"{TRUST_FOLDER}/root.{version}.json")
            return None if file is None else document_file(file)
        if (key_name := read_record_path(path)) is not None:
            file = open_if_regular(self.folder, f"{TRUST_FOLDER}/{kept_record_name(key_name)}")
            return None if file is None else record_file(file, key_name, datetime.now(UTC))
        key = read_manifest_path(path)
        for manifest, raw in self._complete_versions():
            if (manifest.channel, manifest.arch) == key:
                return document_file(BytesIO(raw))
        return None

    def offers(self) -> frozenset[OfferedVersion]:
        """Return the complete versions."""
        return frozenset(
            OfferedVersion(each.channel, each.arch, str(each.version), raw_cid(Digest.of(raw)))
            for each, raw in self._complete_versions()
        )

    def dags(self) -> Mapping[Cid, Digest]:
        """Return the DAG roots that the manifests of complete versions name."""
        return dags_in(manifest for manifest, _ in self._complete_versions())

    def _complete_versions(self) -> Iterator[tuple[Manifest, bytes]]:
        seen: set[tuple[str, Arch]] = set()
        for document in self._state_entries():
            try:
                manifest = Manifest.of(document)
            except Refusal:
                continue
            key = (manifest.channel, manifest.arch)
            if key not in seen and self._is_complete(manifest):
                seen.add(key)
                yield manifest, canonical(document)

    def _state_entries(self) -> list[Mapping[str, object]]:
        file = open_if_regular(self.folder, TRUST_STATE)
        if file is None:
            return []
        try:
            with file:
                return entries_of(file.read(MAX_STATE_BYTES + 1))
        except (Refusal, OSError):
            return []

    def _is_complete(self, manifest: Manifest) -> bool:
        return all(self._has_artifact(manifest, name) for name in REQUIRED)

    def _has_artifact(self, manifest: Manifest, name: str) -> bool:
        artifact = manifest.artifacts[name]
        file = open_if_regular(self.folder, entry_path(artifact.digest))
        if file is None:
            return False
        with file:
            return file.seek(0, os.SEEK_END) == artifact.size
