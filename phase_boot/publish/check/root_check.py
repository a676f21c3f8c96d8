"""Check that machines which follow the roots of a SITE accept a manifest published there."""

from __future__ import annotations

from pathlib import Path

from phase_boot.publish.errors import PublishError
from phase_boot.publish.roots.folder import build_chain, read_roots
from phase_boot.store.layout import ROOTS
from phase_boot.trust.chain import Chain
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal


def check_backing(
    site: Path, manifest: Manifest, signers: frozenset[str], *, force: bool = False
) -> str | None:
    """Return a warning if machines that follow the newest root refuse ``manifest``.

    Raises:
        PublishError: every root of the SITE refuses it from ``signers`` (unless ``force``).
    """
    folder = site / ROOTS
    if not folder.is_dir():
        return None
    root_files = list(read_roots(folder))
    chain = build_chain(root_files)
    if chain is None:
        return f"{folder} has no root that a machine could follow: see `phase-boot root show`."
    doubt = _doubt(chain, manifest, signers)
    if doubt is None:
        bad = next((found for found in root_files if found.fault is not None), None)
        return f"{bad.path} is not followed: {bad.fault}" if bad is not None else None
    ever = chain.ever_trusted(manifest.channel)
    if not force and not any(len(signers & trust.keys) >= trust.threshold for trust in ever):
        raise PublishError(f"Every machine that follows {folder} would refuse this ({doubt}).")
    return f"Machines that follow {folder} will refuse this: {doubt}."


def _doubt(chain: Chain, manifest: Manifest, signers: frozenset[str]) -> str | None:
    try:
        trust = chain.trust(manifest.channel, manifest.issued)
    except Refusal as refusal:
        return str(refusal).removesuffix(".")
    count = len(signers & trust.keys)
    if count >= trust.threshold:
        return None
    return (
        f"{count} of the publishers of {manifest.channel} in root {chain.version} signed it, but "
        f"{trust.threshold} must: sign it with their keys, or make them publishers with "
        "`phase-boot root rotate`"
    )
