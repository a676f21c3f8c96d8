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
from phase_boot.trust.refusals import ChannelUnknown, Refusal
from phase_boot.trust.verify import Authentic, authenticate


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
    path = site / kept_manifest_path(booted.channel, receipt.arch, booted.manifest)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return (
            f"This SITE never published the manifest {booted.manifest} that it says was booted: "
            "look where that machine was booted from."
        )
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        found = _authentic(raw, chain, booted.channel)
        check_booted(receipt, found.manifest, Digest.of(signed_bytes(found.document)))
    except Refusal as refusal:
        return f"{refusal} [{refusal.code}]"
    return None


def _authentic(raw: bytes, chain: Chain, channel: str) -> Authentic:
    failure: Refusal = ChannelUnknown(version=chain.version, channel=channel)
    for trust in chain.ever_trusted(channel):
        try:
            return authenticate(raw, trust)
        except Refusal as refusal:
            failure = refusal
    raise failure
