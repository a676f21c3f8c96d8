"""A SITE whose root names an announcing key, and the file of that key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from phase_boot.announce.site_record import Terms
from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import document, signed
from phase_boot.drill.sample_root import channel, root_document, signed_root
from phase_boot.publish.keys.keyfile import encode_key
from phase_boot.store.layout import manifest_path, record_paths, root_path
from phase_boot.trust.ipns_record import IpnsRecord, verify_record
from phase_boot.trust.keys import SigningKey
from tests.support.ipns_records import ANNOUNCING_KEY, NAME
from tests.support.provider import make_site

STABLE: Final = ("stable", Arch.AMD64)
LATE: Final = "2124-11-12T08:00:00Z"


def make_announced_site(
    folder: Path,
    announcers: Sequence[SigningKey] = (ANNOUNCING_KEY,),
    *,
    channels: Sequence[str] = ("beta", "stable"),
) -> Path:
    """Lay out a SITE in ``folder`` with one version, and ``announcer.key`` beside it."""
    site = make_site(folder / "site")
    if "stable" in channels:
        add_manifest(site)
    roles = {name: channel(expires=LATE) for name in channels}
    named = [key.keyid for key in announcers]
    root = signed_root(root_document(channels=roles, announcers=named))
    (site / root_path(1)).write_bytes(root)
    write_key(folder / "announcer.key", ANNOUNCING_KEY)
    return site


def add_manifest(site: Path, name: str = "stable", arch: Arch = Arch.AMD64, **changes: Any) -> Path:
    """Publish a manifest that is accepted for a long time."""
    path = site / manifest_path(name, arch)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"channel": name, "arch": str(arch), "expires": LATE, **changes}
    path.write_bytes(signed(document(**fields)))
    return path


def write_key(path: Path, key: SigningKey) -> Path:
    """Write a key file without a passphrase."""
    path.write_bytes(encode_key(key, None))
    path.chmod(0o600)
    return path


def terms(now: datetime | None = None, hours: float = 48, **more: Any) -> Terms:
    """Return the terms of a record that is signed now."""
    moment = now or datetime.now(UTC).replace(microsecond=0)
    return Terms(now=moment, validity=timedelta(hours=hours), **more)


def files(site: Path) -> list[bytes]:
    """Return the record files of the SITE."""
    found = (site / path for path in record_paths(NAME))
    return [path.read_bytes() for path in found if path.exists()]


def stored(site: Path, now: datetime | None = None) -> IpnsRecord:
    """Return the record of a SITE whose two files are the same."""
    first, second = files(site)
    assert first == second
    return verify_record(first, NAME, now or datetime.now(UTC))
