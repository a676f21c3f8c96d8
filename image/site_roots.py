"""Roots of a SITE: copied from the publisher, and verified as a machine verifies them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from phase_boot.publish.errors import PublishError
from phase_boot.publish.folder_lock import locked
from phase_boot.publish.roots.folder import load_trusted, read_roots, root_file
from phase_boot.safefs.atomic import PUBLIC, replace
from phase_boot.store.layout import ROOTS, manifest_path, read_root_path, root_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.client import Updater
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.strict_json import MAX_BYTES
from phase_boot.trust.verify import BootRequirements


def copy_roots(first: Path, site: Path) -> None:
    """Make the roots of ``site`` the file ``first`` and those that follow from it in its folder.

    Drafts stay where they are. A root of the SITE that the folder has not belongs to another
    chain, and goes.

    Raises:
        PublishError: A root does not follow, or the disk refuses.
    """
    wanted = {load_trusted(first).version: first}
    for found in read_roots(first.parent, first):
        if found.fault is not None:
            raise PublishError(f"{found.path} is not followed: {found.fault}")
        wanted[int(found.path.stem)] = found.path
    folder = site / ROOTS
    if folder.exists() and folder.samefile(first.parent):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        for version, path in wanted.items():
            replace(root_file(folder, version), path.read_bytes(), PUBLIC)
        for path in folder.iterdir():
            other = read_root_path(f"{ROOTS}/{path.name}")
            if other is not None and other not in wanted:
                path.unlink()


class SiteFolder:
    """Implements `trust.client.UpdateIO` for the folder of a SITE; it keeps nothing.

    A file that is larger than any document is cut, and refused as too large.
    """

    def __init__(self, site: Path, manifest: str = "") -> None:
        self._site = site
        self._manifest = manifest

    async def root(self, version: int) -> bytes | None:
        """Return the root, or None where there is no such file."""
        path = self._site / root_path(version)
        return _read(path) if path.exists() else None

    async def manifest(self) -> bytes:
        """Return the manifest; raise OSError where there is none."""
        return _read(self._site / self._manifest)

    async def keep_root(self, version: int, raw: bytes) -> None:
        """Keep nothing."""

    async def keep_state(self) -> None:
        """Keep nothing."""


def updated_chain(first: Path, site: Path) -> Chain:
    """Return the roots that a machine with the file ``first`` trusts after an update from ``site``.

    Raises:
        PublishError: ``first`` is not a root.
        Refusal: A root of the SITE does not follow from the one before.
    """
    updater = Updater(Chain(load_trusted(first)))
    asyncio.run(updater.follow_roots(SiteFolder(site)))
    return updater.chain


def verified_manifest(first: Path, site: Path, requirements: BootRequirements) -> Manifest:
    """Return the manifest of ``site`` that a machine with the file ``first`` boots.

    Raises:
        PublishError: ``first`` is not a root.
        Refusal: A root or the manifest is refused.
        OSError: There is no manifest.
    """
    path = manifest_path(requirements.channel, requirements.arch)
    updater = Updater(Chain(load_trusted(first)))
    update = updater.update(SiteFolder(site, path), requirements, datetime.now(UTC))
    return asyncio.run(update).manifest


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
