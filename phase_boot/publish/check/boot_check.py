"""Check the claims of a receipt against what the publishers of a SITE signed."""

from __future__ import annotations

from pathlib import Path

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.publish.errors import PublishError
from phase_boot.store.layout import kept_manifest_path, manifest_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.claims import check_claims
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.receipt import Booted, Receipt
from phase_boot.trust.refusals import ChannelUnknown, Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document
from phase_boot.trust.verify import SignedManifest, authenticate


def boot_fault(site: Path, receipt: Receipt, chain: Chain) -> str | None:
    """Say why what ``receipt`` says was booted is not what the SITE's publishers signed, or None.

    They are whom ``chain`` trusts or once did. Dates do not count: what may not be booted any more
    was booted at its time.

    Raises:
        PublishError: the manifest cannot be read.
    """
    booted = receipt.booted
    if booted is None:
        return "It names no version that was booted: look where that job was run by hand."
    try:
        raw = _published(site, receipt.arch, booted)
        if raw is None:
            return (
                f"This SITE never published the manifest {booted.manifest} that it says was "
                "booted: look where that machine was booted from."
            )
        found = _authentic(raw, chain, booted.channel)
        check_claims(receipt, found.manifest, Digest.of(signed_bytes(found.document)))
    except Refusal as refusal:
        return f"{refusal} [{refusal.code}]"
    return None


def _published(site: Path, arch: Arch, booted: Booted) -> bytes | None:
    """Return the manifest that was booted: as it was kept, or the newest of a SITE that kept none.

    Raises:
        PublishError: it cannot be read.
        Refusal: what is in its place is no document.
    """
    for place in (
        kept_manifest_path(booted.channel, arch, booted.manifest),
        manifest_path(booted.channel, arch),
    ):
        try:
            with (site / place).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PublishError(f"{site / place} cannot be read: {error.strerror}.") from error
        if Digest.of(signed_bytes(read_document(raw))) == booted.manifest:
            return raw
    return None


def _authentic(raw: bytes, chain: Chain, channel: str) -> SignedManifest:
    failure: Refusal = ChannelUnknown(version=chain.version, channel=channel)
    for trust in chain.ever_trusted(channel):
        try:
            return authenticate(raw, trust)
        except Refusal as refusal:
            failure = refusal
    raise failure
