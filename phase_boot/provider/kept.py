"""What a machine that has booted can hand on: the artifacts, roots and manifests of its store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, raw_cid
from phase_boot.content.digest import Digest
from phase_boot.provider.files import (
    Offer,
    Served,
    dags_of,
    open_plain,
    served_document,
    served_entry,
    served_index,
)
from phase_boot.store.layout import (
    entry_path,
    read_dag_path,
    read_entry_path,
    read_manifest_path,
    read_root_path,
)
from phase_boot.trust.document import canonical
from phase_boot.trust.manifest import REQUIRED, Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.rollback import MAX_STATE_BYTES, entries_of

NOTES: Final = "trust"
STATE: Final = f"{NOTES}/state.json"
ENTRIES: Final = "cas"
INDEXES: Final = f"{ENTRIES}/dag"
"""The folders of a store: as `phase-boot daemon --store` and the Cache partition have them."""


@dataclass(frozen=True, slots=True)
class StoreGoods:
    """Implements `provider.files.Goods` for a store.

    Of a version only what is there whole is offered. Nothing is verified here: whoever takes it
    does, as if it came from anybody.
    """

    folder: Path

    def open(self, path: str) -> Served | None:
        """Open an artifact, a kept root, or the manifest of a version that is whole."""
        if (digest := read_entry_path(path)) is not None:
            file = open_plain(self.folder, entry_path(digest))
            return None if file is None else served_entry(file, digest)
        if (root := read_dag_path(path)) is not None:
            artifact = self.dags().get(root)
            name = f"{INDEXES}/{'' if artifact is None else artifact.hex}.{root}"
            file = open_plain(self.folder, name)
            return None if file is None else served_index(file, root)
        if (version := read_root_path(path)) is not None:
            file = open_plain(self.folder, f"{NOTES}/root.{version}.json")
            return None if file is None else served_document(file)
        place = read_manifest_path(path)
        for manifest, raw in self._whole():
            if (manifest.channel, manifest.arch) == place:
                return served_document(BytesIO(raw))
        return None

    def offers(self) -> frozenset[Offer]:
        """Return the versions that are whole."""
        return frozenset(
            Offer(each.channel, each.arch, str(each.version), raw_cid(Digest.of(raw)))
            for each, raw in self._whole()
        )

    def dags(self) -> Mapping[Cid, Digest]:
        """Return the DAGs that the manifests of the versions that are whole name."""
        return dags_of(manifest for manifest, _ in self._whole())

    def _whole(self) -> Iterator[tuple[Manifest, bytes]]:
        seen: set[tuple[str, Arch]] = set()
        for document in self._remembered():
            try:
                manifest = Manifest.of(document)
            except Refusal:
                continue
            place = (manifest.channel, manifest.arch)
            if place not in seen and self._has(manifest):
                seen.add(place)
                yield manifest, canonical(document)

    def _remembered(self) -> list[Mapping[str, object]]:
        file = open_plain(self.folder, STATE)
        if file is None:
            return []
        try:
            with file:
                return entries_of(file.read(MAX_STATE_BYTES + 1))
        except (Refusal, OSError):
            return []

    def _has(self, manifest: Manifest) -> bool:
        return all(self._has_bytes(manifest, name) for name in REQUIRED)

    def _has_bytes(self, manifest: Manifest, name: str) -> bool:
        artifact = manifest.artifacts[name]
        file = open_plain(self.folder, entry_path(artifact.digest))
        if file is None:
            return False
        with file:
            return file.seek(0, os.SEEK_END) == artifact.size
