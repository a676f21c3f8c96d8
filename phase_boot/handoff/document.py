"""`/phase/handoff.json`: what the target may know about how it was booted (SPEC "Handover")."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from phase_boot.trust.verify import Verified

SCHEMA: Final = "phase-boot-handoff-v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The link that the boot used."""

    interface: str
    addresses: tuple[str, ...]


def document(
    *,
    mode: str,
    manifest: Verified,
    network: Network | None,
    sources: Mapping[str, str],
    journal: Sequence[str],
) -> bytes:
    """Return the document as JSON in UTF-8.

    Args:
        mode: the mode that was booted.
        manifest: the manifest that was verified; it goes in as the exact bytes that were signed.
        network: the link that was used, if any.
        sources: which artifact came from where.
        journal: the event lines so far, oldest first.
    """
    link = {"interface": network.interface, "addresses": list(network.addresses)} if network else {}
    content = {
        "schema": SCHEMA,
        "mode": mode,
        "version": str(manifest.manifest.version),
        "manifest": manifest.raw.decode(),
        "signers": list(manifest.signers),
        "network": link,
        "sources": dict(sources),
        "journal": list(journal),
    }
    return json.dumps(content, ensure_ascii=True, indent=1).encode() + b"\n"


def kernel_cmdline(*, mode: str, manifest: Verified) -> str:
    """Return the target's command line: the signed one, then what the hand-over adds."""
    facts = manifest.manifest
    added = (
        f"phase.mode={mode}",
        f"phase.version={facts.version}",
        f"phase.rootfs={facts.artifacts['rootfs'].digest}",
    )
    return " ".join([facts.cmdline, *added]).strip()
