"""`phase-boot announce` that is killed before any system call."""

from __future__ import annotations

import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phase_boot.announce.site_record import announce_site, newest_record
from phase_boot.cli.main import main
from phase_boot.store.layout import record_paths
from phase_boot.trust.ipns_record import verify_record
from tests.support.announced_site import files, make_announced_site, stored, terms
from tests.support.ipns_records import ANNOUNCING_KEY, NAME
from tests.support.killed_commands import killed


@pytest.mark.parametrize("first", [True, False], ids=["no record", "a record"])
def test_a_run_killed_at_any_call_leaves_valid_records_and_the_next_one_completes(
    tmp_path: Path, *, first: bool
) -> None:
    base = make_announced_site(tmp_path / "base")
    if not first:
        announce_site(base, ANNOUNCING_KEY, terms())
    site = tmp_path / "site"
    words = ["announce", str(site), "--key", str(tmp_path / "base/announcer.key")]
    states, at = set(), 0
    while True:
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(base, site)
        if not killed(words, at):
            break
        now = datetime.now(UTC)
        assert all(verify_record(raw, NAME, now) for raw in files(site))
        modes = {stat.S_IMODE(file.stat().st_mode) for file in site.glob("**/ipns/*")}
        assert modes <= {0o644}
        newest = newest_record(site, NAME)
        states.add((len(files(site)), len(set(files(site)))))
        assert main(words) == 0
        assert newest is None or stored(site).newer_than(newest)
        assert not (site / ".publishing").exists()
        at += 1
    assert at > 10
    assert (1, 1) in states if first else (2, 2) in states
    assert [(site / path).read_bytes() for path in record_paths(NAME)] == files(site)
