"""A sample IPNS record, and the announcing key that signs it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, Codec
from phase_boot.drill.sample_manifest import NOW, document, signed
from phase_boot.trust.announcement import Announcement, Place
from phase_boot.trust.ipns_record import make_record
from phase_boot.trust.keys import SigningKey

ANNOUNCER: Final = SigningKey(b"\x31" * 32)
MIRROR_URL: Final = "http://mirror/stable/amd64/manifest.json"
MANIFEST_CID: Final = Cid.of(Codec.RAW, signed(document(mirrors=[])))
"""The CID of the manifest that `fake_servers.good_server` has."""


def announcement(
    *,
    cid: Cid = MANIFEST_CID,
    mirrors: tuple[str, ...] = (MIRROR_URL,),
    providers: tuple[str, ...] = (),
) -> Announcement:
    """Return an announcement of `stable` for amd64."""
    return Announcement({("stable", Arch.AMD64): Place(cid, mirrors, providers)})


def record(
    *,
    key: SigningKey = ANNOUNCER,
    sequence: int = 7,
    validity: datetime = NOW + timedelta(hours=48),
    announcement: Announcement = announcement(),  # noqa: B008 - immutable
) -> bytes:
    """Return a record of ``key``, valid when the drill runs."""
    return make_record(
        key,
        value=f"/ipfs/{MANIFEST_CID}",
        announcement=announcement,
        sequence=sequence,
        validity=validity,
        ttl_seconds=300,
    )
