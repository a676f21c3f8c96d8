"""The IPNS record of a SITE: two files with the same bytes, replaced atomically one by one.

A run that is killed between them leaves two valid records, and the next run replaces both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from phase_boot.announce.places import Places, find_places
from phase_boot.publish.check.site_check import check_roots
from phase_boot.publish.errors import PublishError
from phase_boot.publish.site import open_site
from phase_boot.safefs.beneath import open_beneath
from phase_boot.store.layout import ROOTS, record_paths
from phase_boot.trust.announcement import MAX_PLACES, Announcement
from phase_boot.trust.chain import Chain
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import (
    MAX_NUMBER,
    MAX_RECORD,
    IpnsRecord,
    make_record,
    read_record,
    verify_record,
)
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import Refusal, TooLarge

TTL_SECONDS: Final = 300
"""Time for which resolvers may keep a record without asking again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Contents of a record beyond those of the SITE.

    Attributes:
        now: the time at which it is signed.
        validity: the time for which it is valid.
        mirrors: base URLs of mirrors; without any, those that each manifest names.
        providers: multiaddrs of IPFS nodes that hold the SITE.
    """

    now: datetime
    validity: timedelta
    mirrors: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Announced:
    """A record that was written to a SITE, and the places in it."""

    record: IpnsRecord
    places: Places


def announce_site(site: Path, key: SigningKey, terms: Terms) -> Announced:
    """Sign a record of the current manifests of ``site``, and write it there.

    The value of the record is the CID of the first manifest, by channel and architecture.

    Raises:
        PublishError: the newest root does not name the key in ``announcers``, machines refuse every
            manifest or would refuse the record, or another publisher holds the SITE.
    """
    with open_site(site) as opened:
        chain = site_chain(site)
        _check_announcer(chain, key.keyid)
        places = find_places(
            site, chain, terms.now, mirrors=terms.mirrors, providers=terms.providers
        )
        _check_places(site, places)
        name = IpnsName(key.keyid)
        raw = _signed(key, places, terms, _next_sequence(site, name, terms.now))
        record = _verified(raw, name, terms.now)
        for path in record_paths(name):
            opened.write(path, raw)
    return Announced(record, places)


def site_chain(site: Path) -> Chain:
    """Return the chain of the roots of ``site``.

    Raises:
        PublishError: it has no valid root, or cannot be read.
    """
    chain, findings = check_roots(site / ROOTS)
    if chain is None:
        faults = "; ".join(f"{each.subject}: {each.text}" for each in findings if not each.good)
        raise PublishError(
            f"{site} has no root that names announcing keys ({faults}): create one with "
            "`phase-boot root new`."
        )
    return chain


def newest_record(site: Path, name: IpnsName) -> IpnsRecord | None:
    """Return the newest record of ``name`` in a SITE, expired or not; None if none is signed.

    Raises:
        PublishError: a file cannot be read.
    """
    newest: IpnsRecord | None = None
    for raw in _stored(site, name):
        record = _signed_record(raw, name)
        if record is not None and (newest is None or record.newer_than(newest)):
            newest = record
    return newest


def _signed_record(raw: bytes, name: IpnsName) -> IpnsRecord | None:
    """Return a record whose signature is valid, whether expired or not, or None."""
    try:
        return read_record(raw, name)
    except Refusal:
        return None


def _check_announcer(chain: Chain, keyid: str) -> None:
    if keyid not in chain.announcers:
        raise PublishError(
            f"Root {chain.version} does not name {keyid} as an announcing key, so no machine asks "
            "for its record: add it with `phase-boot root rotate --add-announcer`."
        )


def _check_places(site: Path, places: Places) -> None:
    if not places.found:
        why = " ".join(places.refused.values()) or "It has no manifest."
        raise PublishError(f"{site} has no version to announce: publish one first. {why}")
    if len(places.found) > MAX_PLACES:
        raise PublishError(
            f"{site} has {len(places.found)} manifests, and a record names at most {MAX_PLACES}: "
            "announce some of the channels from a SITE of their own."
        )


def _next_sequence(site: Path, name: IpnsName, now: datetime) -> int:
    """Return the Unix time, or more if the SITE has a record with as high a sequence."""
    newest = newest_record(site, name)
    sequence = int(now.timestamp())
    if newest is not None:
        sequence = max(sequence, newest.sequence + 1)
    if sequence > MAX_NUMBER:
        raise PublishError(
            "The record of the SITE has the highest possible sequence, so none can follow it: "
            "announce with another key, and add it with `phase-boot root rotate --add-announcer`."
        )
    return sequence


def _signed(key: SigningKey, places: Places, terms: Terms, sequence: int) -> bytes:
    first = next(iter(places.found.values()))
    try:
        return make_record(
            key,
            value=f"/ipfs/{first.manifest_cid}",
            announcement=Announcement(places.found),
            sequence=sequence,
            validity=(terms.now + terms.validity).replace(microsecond=0),
            ttl_seconds=TTL_SECONDS,
        )
    except TooLarge:
        raise PublishError(
            f"The record would be larger than {MAX_RECORD} bytes: name fewer mirrors and providers."
        ) from None
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse the record: {refusal}") from None


def _verified(raw: bytes, name: IpnsName, now: datetime) -> IpnsRecord:
    """Return the record that machines read in ``raw``."""
    try:
        return verify_record(raw, name, now)
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse the record: {refusal}") from None


def _stored(site: Path, name: IpnsName) -> Iterator[bytes]:
    for path in record_paths(name):
        try:
            with open_beneath(site, path) as file:
                yield file.read(MAX_RECORD + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PublishError(f"{site / path} cannot be read: {error.strerror}.") from error
