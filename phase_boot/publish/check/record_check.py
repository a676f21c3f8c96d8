"""Checks of the IPNS records in a SITE, which `phase-boot announce` writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from phase_boot.content.cid import Cid, Codec
from phase_boot.publish.dates import rfc3339
from phase_boot.safefs.beneath import open_beneath
from phase_boot.store.layout import RECORDS, manifest_path, read_record_path, record_paths
from phase_boot.trust.chain import Chain
from phase_boot.trust.ipns_record import MAX_RECORD, IpnsRecord, verify_record
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES

_AGAIN = "run `phase-boot announce` again"


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """A record file of a SITE.

    Attributes:
        good: whether machines accept it now.
        text: what it is, or why it is refused.
        warnings: what is out of date in it.
    """

    good: bool
    text: str
    warnings: tuple[str, ...] = ()


def record_files(site: Path) -> Iterator[str]:
    """Yield the path of each file in the folders of records, below the SITE."""
    for folder in RECORDS:
        for path in sorted((site / folder).glob("*")):
            yield f"{folder}/{path.name}"


def check_record(site: Path, path: str, chain: Chain, now: datetime) -> CheckedRecord:
    """Check one file of `record_files` as machines do that follow ``chain``."""
    name = read_record_path(path)
    if name is None:
        return CheckedRecord(good=False, text="does not have an IPNS name: remove it")
    raw = _read(site, path, MAX_RECORD)
    if raw is None:
        return CheckedRecord(good=False, text="is not a plain file")
    try:
        record = verify_record(raw, name, now)
    except Refusal as refusal:
        return CheckedRecord(good=False, text=f"{refusal} [{refusal.code}]")
    text = f"record {record.sequence}, until {rfc3339(record.validity)}"
    return CheckedRecord(good=True, text=text, warnings=tuple(_warnings(site, record, chain)))


def _warnings(site: Path, record: IpnsRecord, chain: Chain) -> Iterator[str]:
    if chain.version is not None and record.name.keyid not in chain.announcers:
        yield (
            f"root {chain.version} does not name its key as an announcing key, so no machine asks "
            "for it: remove it"
        )
    for (channel, arch), place in record.announcement.places.items():
        path = manifest_path(channel, arch)
        raw = _read(site, path, MAX_BYTES)
        if raw is None:
            yield f"{path} is not in the SITE: {_AGAIN}"
        elif Cid.of(Codec.RAW, raw) != place.manifest_cid:
            yield f"{path} was published after it: {_AGAIN}"
    if any(_read(site, path, MAX_RECORD) != record.raw for path in record_paths(record.name)):
        yield f"the files of the name differ: {_AGAIN}"


def _read(site: Path, path: str, limit: int) -> bytes | None:
    """Return at most ``limit`` + 1 bytes of a file of the SITE; None if it is no plain file."""
    try:
        with open_beneath(site, path) as file:
            return file.read(limit + 1)
    except OSError:
        return None
