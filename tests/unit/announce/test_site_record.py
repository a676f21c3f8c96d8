"""The record of a SITE: signed by an announcing key only, newer than the one before, two files."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from phase_boot.announce import site_record
from phase_boot.announce.site_record import announce_site, newest_record
from phase_boot.content.arch import Arch
from phase_boot.publish.errors import PublishError
from phase_boot.publish.site import Site, open_site
from phase_boot.store.layout import record_paths
from phase_boot.trust.ipns_record import MAX_NUMBER, IpnsRecord
from phase_boot.trust.keys import SigningKey
from tests.support.announced_site import (
    STABLE,
    add_manifest,
    files,
    make_announced_site,
    stored,
    terms,
)
from tests.support.ipns_records import ANNOUNCING_KEY, NAME, OTHER_KEY, record

LONG = tuple(f"https://mirror.example/{number}/{'x' * 400}" for number in range(8))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_announced_site(tmp_path)


def announced(site: Path, now: datetime | None = None) -> IpnsRecord:
    return announce_site(site, ANNOUNCING_KEY, terms(now)).record


def plant(site: Path, raw: bytes, *paths: str) -> None:
    for path in paths or record_paths(NAME):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(raw)


def test_both_files_hold_the_same_record_for_any_web_server(site: Path) -> None:
    record = announced(site)
    assert files(site) == [record.raw, record.raw]
    modes = {stat.S_IMODE((site / path).stat().st_mode) for path in record_paths(NAME)}
    assert modes == {0o644}
    assert not (site / ".publishing").exists()


def test_its_sequence_is_the_unix_time_and_its_value_the_cid_of_the_manifest(site: Path) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    record = announced(site, now)
    place = record.announcement.places[STABLE]
    assert record.sequence == int(now.timestamp())
    assert record.validity == now + timedelta(hours=48)
    assert record.ttl_seconds == site_record.TTL_SECONDS
    assert record.value == f"/ipfs/{place.manifest_cid}"


def test_the_value_is_that_of_the_first_of_several_places(site: Path) -> None:
    add_manifest(site, "beta")
    record = announced(site)
    (channel, _), first = next(iter(record.announcement.places.items()))
    assert (channel, record.value) == ("beta", f"/ipfs/{first.manifest_cid}")


def test_a_second_run_in_the_same_second_has_a_higher_sequence(site: Path) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    first, second = announced(site, now), announced(site, now)
    assert second.sequence == first.sequence + 1
    assert second.newer_than(first)


def test_a_clock_that_went_back_never_lowers_the_sequence(site: Path) -> None:
    ahead = announced(site, datetime(2026, 11, 20, tzinfo=UTC))
    behind = announced(site, datetime(2026, 11, 19, tzinfo=UTC))
    assert behind.sequence == ahead.sequence + 1


def test_the_sequence_of_an_expired_record_counts_too(site: Path) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    plant(site, record(sequence=2**40, validity=now - timedelta(days=700)))
    assert announced(site, now).sequence == 2**40 + 1


def test_the_higher_sequence_of_two_files_counts(site: Path) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    first, second = record_paths(NAME)
    plant(site, record(sequence=2**40, validity=now + timedelta(hours=1)), first)
    plant(site, record(sequence=2**41, validity=now + timedelta(hours=1)), second)
    assert announced(site, now).sequence == 2**41 + 1


@pytest.mark.parametrize("raw", [b"", b"x" * 20_000, record(OTHER_KEY), record()[:-1]])
def test_a_file_that_is_no_record_of_the_key_is_replaced(site: Path, raw: bytes) -> None:
    plant(site, raw)
    record = announced(site)
    assert stored(site) == record
    assert record.sequence <= datetime.now(UTC).timestamp()


def test_the_highest_sequence_cannot_be_followed(site: Path) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    last = record(sequence=MAX_NUMBER, validity=now + timedelta(hours=1))
    plant(site, last)
    with pytest.raises(PublishError, match="--add-announcer"):
        announced(site, now)
    assert files(site) == [last, last]


@pytest.mark.parametrize("announcers", [(), (OTHER_KEY,)], ids=["none", "another"])
def test_a_key_that_the_newest_root_does_not_name_is_refused(
    tmp_path: Path, announcers: tuple[SigningKey, ...]
) -> None:
    site = make_announced_site(tmp_path, announcers)
    with pytest.raises(PublishError, match="phase-boot root rotate --add-announcer"):
        announced(site)
    assert files(site) == []


def test_a_site_without_a_root_is_refused(site: Path) -> None:
    (site / "root/1.json").unlink()
    with pytest.raises(PublishError, match="phase-boot root new"):
        announced(site)
    assert files(site) == []


def test_a_site_whose_manifests_all_expired_keeps_its_record(site: Path) -> None:
    before = announced(site)
    add_manifest(site, expires="2025-11-13T00:00:00Z")
    with pytest.raises(PublishError, match="no version to announce"):
        announced(site)
    assert files(site) == [before.raw, before.raw]


@pytest.mark.parametrize(
    ("more", "way_out"),
    [
        ({"mirrors": LONG}, "name fewer mirrors"),
        ({"providers": ("not a multiaddr",)}, "providers"),
        ({"mirrors": (f"https://mirror.example/{'x' * 480}",)}, "mirrors"),
    ],
    ids=["too large", "no multiaddr", "a URL that is too long"],
)
def test_a_record_that_machines_refuse_is_never_written(
    site: Path, more: dict[str, Any], way_out: str
) -> None:
    for name, arch in product(("beta", "stable"), Arch):
        add_manifest(site, name, arch)
    with pytest.raises(PublishError, match=way_out):
        announce_site(site, ANNOUNCING_KEY, terms(**more))
    assert files(site) == []


def test_a_site_of_more_manifests_than_a_record_names_is_refused(tmp_path: Path) -> None:
    channels = [f"c{number}" for number in range(9)]
    site = make_announced_site(tmp_path, channels=channels)
    for name, arch in product(channels, Arch):
        add_manifest(site, name, arch)
    with pytest.raises(PublishError, match="has 18 manifests"):
        announced(site)
    assert files(site) == []


def test_while_another_publisher_writes_nothing_is_signed(site: Path) -> None:
    with open_site(site), pytest.raises(PublishError, match="Another publisher"):
        announced(site)
    assert files(site) == []


@pytest.mark.parametrize("killed_at", [0, 1])
def test_a_crash_between_the_files_leaves_valid_records_and_the_next_run_completes(
    site: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    before = announced(site)
    write, left = Site.write, killed_at

    def dying(self: Site, path: str, data: bytes) -> Path:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        return write(self, path, data)

    monkeypatch.setattr(Site, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        announced(site)
    monkeypatch.undo()
    newest = newest_record(site, NAME)
    assert newest is not None
    assert files(site) == [newest.raw, before.raw]
    assert (newest.raw == before.raw) is (killed_at == 0)
    after = announced(site)
    assert stored(site) == after
    assert after.sequence == newest.sequence + 1


def test_a_link_in_place_of_a_record_is_not_followed(site: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"kept")
    for path in record_paths(NAME):
        (site / path).parent.mkdir(parents=True)
        (site / path).symlink_to(secret)
    with pytest.raises(PublishError):
        announced(site)
    assert secret.read_bytes() == b"kept"
