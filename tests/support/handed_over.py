"""The handoff document of a booted target."""

from __future__ import annotations

from collections.abc import Mapping

from phase_boot.content.digest import Digest
from phase_boot.drill import sample_manifest as manifests
from phase_boot.drill.sample_manifest import NOW, ROOTFS
from phase_boot.handoff.document import ManifestSource, Network, document
from phase_boot.trust.verify import verify
from tests.support.manifests import REQUIREMENTS, TRUST

RUNNING = Digest.of(ROOTFS)
PROVIDER_URL = "http://192.0.2.7:8070"
LINK = Network(interface="eth0", addresses=("192.0.2.9/24",), proxy="http://192.0.2.1:3128")


def handed_over(
    *,
    mode: str = "internet",
    sources: Mapping[str, str] | None = None,
    manifest_source: ManifestSource | None = None,
    **fields: object,
) -> bytes:
    raw = manifests.signed(manifests.document(**fields))
    manifest = verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW)
    return document(
        mode=mode,
        manifest=manifest,
        network=LINK,
        manifest_source=manifest_source,
        sources=sources or {},
        journal=(),
    )
