"""The target's initramfs and command line, the same for every boot method (SPEC "Handover")."""

from __future__ import annotations

from phase_boot.handoff.cmdline import for_target
from phase_boot.handoff.document import ManifestSource, Network, document
from phase_boot.handoff.initrd import Initrd
from phase_boot.machine.boot import BootContext, Images, require
from phase_boot.machine.handler import Ports
from phase_boot.ports.network import Link
from phase_boot.url import is_url


def initrd_of(ports: Ports, boot: BootContext, images: Images) -> Initrd:
    """Return the initramfs with the hand-over document, and with a rootfs that is not on Cache."""
    store = require(boot.store, "a store")
    # The target finds the rootfs only on a partition that the document can name.
    usable = store.persistent and store.partition is not None and store.partition.is_readable
    named = store.partition if usable else None
    handoff = document(
        mode=require(boot.facts, "the machine's facts").mode,
        manifest=require(boot.manifest, "a manifest"),
        network=_network(boot.link) if boot.link else None,
        cache=named,
        manifest_source=_manifest_source(boot),
        sources=dict(boot.sources),
        journal=ports.journal.lines,
    )
    return Initrd(
        initramfs=images.initramfs,
        document=handoff,
        rootfs=images.rootfs if named is None else None,
    )


def cmdline_of(boot: BootContext) -> str:
    """Return the target's command line.

    Raises:
        BadCommandLine: the signed command line is not usable, in this mode or in any.
    """
    manifest = require(boot.manifest, "a manifest").manifest
    return for_target(
        manifest.cmdline,
        mode=require(boot.facts, "the machine's facts").mode,
        version=str(manifest.version),
        rootfs=str(manifest.artifacts["rootfs"].digest),
    )


def _manifest_source(boot: BootContext) -> ManifestSource | None:
    candidate = boot.candidate
    if candidate is None or boot.manifest is None or not is_url(candidate.url):
        return None
    manifest = boot.manifest.manifest
    provider = candidate.base(manifest.arch, manifest.channel)
    return ManifestSource(manifest=candidate.url, provider=provider or "")


def _network(link: Link) -> Network:
    return Network(
        interface=link.interface,
        addresses=link.addresses,
        gateways=link.gateways,
        dns=link.dns,
        vlan=str(link.vlan or ""),
    )
