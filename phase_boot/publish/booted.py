"""Whether what a receipt says was booted is what the publishers of a SITE signed."""

from __future__ import annotations

from pathlib import Path

from phase_boot.publish.errors import PublishError
from phase_boot.store.digest import Digest
from phase_boot.store.layout import kept_manifest_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.document import MAX_BYTES
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.receipt import Receipt, check_booted
from phase_boot.trust.refusals import ChannelUnknown, ReceiptUnknownManifest, Refusal
from phase_boot.trust.verify import Authentic, authenticate


def check_published(site: Path, receipt: Receipt, chain: Chain) -> None:
    """Check that whom ``chain`` trusts, or once did, signed what ``receipt`` says was booted.

    Dates do not count: what may not be booted any more was booted at its time.

    Raises:
        Refusal: the receipt names no boot, a manifest that the SITE never published, one that
            nobody signed, or another version, channel or architecture than that one's.
        PublishError: the manifest cannot be read.
    """
    booted = receipt.booted
    if booted is None:
        raise ReceiptUnknownManifest(manifest=None)
    path = site / kept_manifest_path(booted.channel, receipt.arch, booted.manifest)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ReceiptUnknownManifest(manifest=booted.manifest) from None
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}.") from error
    found = _authentic(raw, chain, booted.channel)
    check_booted(receipt, found.manifest, Digest.of(signed_bytes(found.document)))


def _authentic(raw: bytes, chain: Chain, channel: str) -> Authentic:
    failure: Refusal = ChannelUnknown(version=chain.version, channel=channel)
    for trust in chain.ever_trusted(channel):
        try:
            return authenticate(raw, trust)
        except Refusal as refusal:
            failure = refusal
    raise failure
