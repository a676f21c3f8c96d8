"""Removing the artifacts and chunk lists of a SITE that no manifest names any more.

The published manifest, the draft and the newest kept manifests of each channel and architecture
are taken into account. Roots, IPNS records, receipts and the kept manifests themselves are never
removed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.publish.errors import PublishError
from phase_boot.publish.release import draft_path
from phase_boot.publish.site import open_site
from phase_boot.safefs.atomic import sync_folder
from phase_boot.store.layout import (
    DAGS,
    ENTRIES,
    MANIFEST,
    dag_path,
    entry_path,
    manifest_path,
    read_dag_path,
    read_entry_path,
    read_manifest_path,
)
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document

KEEP: Final = 1
"""Versions to keep before the published one, so that a download in progress can finish."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A file that no manifest names: its path below the SITE, and its bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """The removed files, and files outside of the layout, which are not removed."""

    removed: tuple[Removed, ...]
    unexpected: tuple[str, ...]

    @property
    def freed(self) -> int:
        """Total size of the removed files, in bytes."""
        return sum(file.size for file in self.removed)


def prune(root: Path, *, keep: int = KEEP, dry_run: bool = False) -> Pruned:
    """Remove every artifact and every chunk list that no manifest of the SITE names.

    Every manifest is read before the first file is removed.

    Args:
        root: the SITE.
        keep: versions before the published one whose artifacts stay.
        dry_run: find the files without removing them.

    Raises:
        PublishError: another publisher holds the SITE, it has no manifest, or one is unreadable.
    """
    if not (root / ENTRIES).is_dir():
        raise PublishError(f"{root} has no {ENTRIES}: name the root of a SITE.")
    with open_site(root):
        needed = _needed_paths(root, keep)
        removed, unexpected = [], []
        for path, status in _list_files(root):
            if path in needed:
                continue
            if not _is_of_layout(path) or not stat.S_ISREG(status.st_mode):
                unexpected.append(path)
                continue
            removed.append(Removed(path, status.st_size))
        for file in () if dry_run else removed:
            (root / file.path).unlink()
        for folder in (ENTRIES, DAGS):
            if not dry_run and (root / folder).is_dir():
                sync_folder(root / folder)
    return Pruned(tuple(removed), tuple(unexpected))


def _needed_paths(root: Path, keep: int) -> frozenset[str]:
    """Return the path of every file that must stay."""
    releases = set(_releases(root))
    if not releases:
        raise PublishError(f"{root} has no manifest that names the files to keep: publish first.")
    manifests = [
        each
        for release in sorted(releases)
        for each in _manifests_to_keep(root, *release, keep=keep)
    ]
    return frozenset(path for manifest in manifests for path in _files(manifest))


def _releases(root: Path) -> Iterator[tuple[str, Arch]]:
    """Yield the channel and architecture of every manifest and draft."""
    for arch in Arch:
        for channel in root.glob(f"*/{arch}"):
            path = f"{channel.parent.name}/{arch}/{MANIFEST}"
            release = read_manifest_path(path)
            if release is not None and any(
                (root / each).exists() for each in (path, draft_path(*release))
            ):
                yield release


def _manifests_to_keep(root: Path, channel: str, arch: Arch, *, keep: int) -> Iterator[Manifest]:
    """Yield the published manifest, the draft, and the newest ``keep`` versions before them."""
    current = [
        _read(root / path)
        for path in (manifest_path(channel, arch), draft_path(channel, arch))
        if (root / path).exists()
    ]
    yield from current
    folder = (root / manifest_path(channel, arch)).parent / "manifests"
    earlier = [_read(path) for path in sorted(folder.glob("*.json"))]
    newest = max(each.version for each in current)
    older = sorted({each.version for each in earlier if each.version < newest})
    newest_earlier = older[-keep:] if keep else []
    yield from (each for each in earlier if each.version in newest_earlier)


def _read(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            return Manifest.of(read_document(file.read(MAX_BYTES + 1)))
    except Refusal as refusal:
        raise PublishError(
            f"{path} cannot be read ({refusal}), so nothing is removed: publish it again, or "
            "remove it."
        ) from None


def _files(manifest: Manifest) -> Iterator[str]:
    for artifact in manifest.artifacts.values():
        yield entry_path(artifact.digest)
    for root in manifest.dags.values():
        yield dag_path(root)
    for job in manifest.jobs:
        yield entry_path(job.module)
        if job.cid is not None:
            yield dag_path(job.cid)


def _list_files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and the status of every file below the folders of artifacts and DAGs."""
    for folder in (ENTRIES, DAGS):
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        for entry in entries:
            yield f"{folder}/{entry.name}", entry.stat(follow_symlinks=False)


def _is_of_layout(path: str) -> bool:
    return read_entry_path(path) is not None or read_dag_path(path) is not None
