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
    """Return why the boot in ``receipt`` is not one that the SITE's publishers signed, or None.

    Publishers are those whom any root of ``chain`` trusts. Dates are not checked: the receipt is of
    the past, when the version may have been valid.

    Raises:
        PublishError: the manifest cannot be read.
    """
    booted = receipt.booted
    if booted is None:
        return "It names no booted version: the job was run by hand."
    try:
        raw = _find_manifest(site, receipt.arch, booted)
        if raw is None:
            return (
                f"This SITE has no manifest {booted.manifest}, which the receipt names as "
                "booted: check it against the SITE that the machine booted from."
            )
        found = _authenticate(raw, chain, booted.channel)
        check_claims(receipt, found.manifest, Digest.of(signed_bytes(found.document)))
    except Refusal as refusal:
        return f"{refusal} [{refusal.code}]"
    return None


def _find_manifest(site: Path, arch: Arch, booted: Booted) -> bytes | None:
    """Return the booted manifest: the kept copy, or the newest manifest of a SITE without copies.

    Raises:
        PublishError: the file cannot be read.
        Refusal: the file is not a document.
    """
    for path in (
        kept_manifest_path(booted.channel, arch, booted.manifest),
        manifest_path(booted.channel, arch),
    ):
        try:
            with (site / path).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PublishError(f"{site / path} cannot be read: {error.strerror}.") from error
        if Digest.of(signed_bytes(read_document(raw))) == booted.manifest:
            return raw
    return None


def _authenticate(raw: bytes, chain: Chain, channel: str) -> SignedManifest:
    failure: Refusal = ChannelUnknown(version=chain.version, channel=channel)
    for trust in chain.ever_trusted(channel):
        try:
            return authenticate(raw, trust)
        except Refusal as refusal:
            failure = refusal
    raise failure
