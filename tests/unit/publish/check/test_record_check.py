"""`phase-boot verify SITE` checks its IPNS records, and `prune` leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phase_boot.announce.site_record import announce_site
from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.store.layout import record_paths
from phase_boot.trust.record_refusals import RecordBadSignature, RecordExpired, RecordMalformed
from phase_boot.trust.refusals import TooLarge
from tests.support.announced_site import add_manifest, files, make_announced_site, terms
from tests.support.ipns_records import ANNOUNCING_KEY, NAME, OTHER_KEY, record

Run = Callable[..., tuple[int, str, str]]
PATHS = record_paths(NAME)
SOON = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = make_announced_site(tmp_path)
    announce_site(root, ANNOUNCING_KEY, terms())
    return root


def findings(run: Run, site: Path, *words: str) -> dict[str, list[tuple[bool, str]]]:
    """Return the findings about records, by path."""
    _, out, _ = run(f"verify {site} --json", *words)
    found: dict[str, list[tuple[bool, str]]] = {}
    for line in map(json.loads, out.splitlines()):
        if "ipns/" in line["subject"]:
            found.setdefault(line["subject"], []).append((line["good"], line["text"]))
    return found


def test_a_valid_record_is_good_at_both_paths(run: Run, site: Path) -> None:
    found = findings(run, site)
    assert list(found) == list(PATHS)
    assert [[good for good, _ in each] for each in found.values()] == [[True], [True]]
    assert run(f"verify {site}")[0] == 0


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (record(validity=datetime(2025, 1, 1, tzinfo=UTC)), RecordExpired.code),
        (record(OTHER_KEY, validity=SOON), RecordBadSignature.code),
        (b"", RecordMalformed.code),
        (b"x" * 20_000, TooLarge.code),
    ],
)
def test_a_record_that_machines_refuse_is_a_finding(
    run: Run, site: Path, raw: bytes, code: str
) -> None:
    (site / PATHS[0]).write_bytes(raw)
    good, text = findings(run, site)[PATHS[0]][0]
    assert (good, f"[{code}]" in text) == (False, True)
    assert run(f"verify {site}")[0] == 1


def test_the_dates_are_judged_by_the_given_time(run: Run, site: Path) -> None:
    later = f"{datetime.now(UTC) + timedelta(hours=49):%Y-%m-%dT%H:%M:%SZ}"
    found = findings(run, site, "--now", later)
    assert [good for each in found.values() for good, _ in each] == [False, False]


def test_a_version_that_was_published_after_the_record_is_a_warning(run: Run, site: Path) -> None:
    add_manifest(site, version="2025.11.13")
    for each in findings(run, site).values():
        assert [good for good, _ in each] == [True, True]
        assert each[1][1].startswith("warning: stable/amd64/manifest.json was published after")


def test_files_that_differ_are_a_warning(run: Run, site: Path) -> None:
    (site / PATHS[1]).unlink()
    ((_, (good, text)),) = findings(run, site).values()
    assert (good, "files of the name differ" in text) == (True, True)


def test_a_key_that_the_newest_root_does_not_name_is_a_warning(run: Run, site: Path) -> None:
    for path in PATHS:
        (site / path).unlink()
    elsewhere = make_announced_site(site.parent / "other", (OTHER_KEY,))
    for path in record_paths(announce_site(elsewhere, OTHER_KEY, terms()).record.name):
        (site / path).write_bytes((elsewhere / path).read_bytes())
    texts = [text for each in findings(run, site).values() for _, text in each]
    assert sum("does not name its key" in text for text in texts) == 2
    fixed = findings(run, site, "--key", PUBLISHER.keyid)
    assert not any("does not name" in text for each in fixed.values() for _, text in each)


def test_other_files_and_links_are_findings(run: Run, site: Path) -> None:
    (site / "ipns/\x1b[2Jname").write_bytes(b"")
    (site / PATHS[0]).unlink()
    (site / PATHS[0]).symlink_to(site / PATHS[1])
    found = findings(run, site)
    assert [good for good, _ in found["ipns/\\x1b[2Jname"]] == [False]
    assert [good for good, _ in found[PATHS[0]]] == [False]


def test_prune_leaves_the_records(run: Run, site: Path) -> None:
    before = files(site)
    status, out, _ = run(f"prune {site}")
    assert (status, out) == (0, "")
    assert files(site) == before
