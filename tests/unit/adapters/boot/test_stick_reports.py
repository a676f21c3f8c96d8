"""Reports on the stick: bounded in number and size, written whole, with their path."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from phase_boot.adapters.boot.esp import EspFailed
from phase_boot.adapters.boot.stick_reports import (
    MAX_BYTES,
    MAX_REPORTS,
    StickReports,
)
from phase_boot.adapters.kexec.dry_run import NoReports
from phase_boot.ports.reports import NotSaved


@dataclass
class FolderEsp:
    """Implements `adapters.esp.Esp` on a folder."""

    folder: Path | None
    refusal: str | None = None
    failure: str | None = None
    mounts: int = 0

    def obstacle(self) -> str | None:
        return self.refusal

    def certainly_lacks(self, name: str) -> bool:
        return not name

    @contextlib.asynccontextmanager
    async def mounted(self, *, writable: bool = False) -> AsyncIterator[Path | None]:
        assert writable
        self.mounts += 1
        if self.failure:
            raise EspFailed(self.failure)
        yield self.folder


async def test_a_report_is_written_whole_and_its_path_is_returned(tmp_path: Path) -> None:
    where = await StickReports(FolderEsp(tmp_path)).save("ab12", "told\u20ac\n")
    assert where == "/phase/reports/ab12.txt on the stick's first partition"
    assert (tmp_path / "phase/reports/ab12.txt").read_bytes() == b"told\\u20ac\n"


async def test_only_the_newest_reports_are_kept_and_always_the_one_just_written(
    tmp_path: Path,
) -> None:
    reports = StickReports(FolderEsp(tmp_path))
    folder = tmp_path / "phase/reports"
    for number in range(MAX_REPORTS):
        await reports.save(f"r{number:02}", "x")
        # A machine without a clock writes dates of the year 2100, or of none.
        os.utime(folder / f"r{number:02}.txt", (4e9 + number, 4e9 + number))
    (folder / ".report.new").write_text("half")
    await reports.save("last", "y")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["last.txt", *(f"r{number:02}.txt" for number in range(1, MAX_REPORTS))]


async def test_a_report_is_bounded(tmp_path: Path) -> None:
    await StickReports(FolderEsp(tmp_path)).save("a", "x" * (MAX_BYTES + 1))
    assert (tmp_path / "phase/reports/a.txt").stat().st_size == MAX_BYTES


@pytest.mark.parametrize("name", ["", "../../loader/loader", "A", "a" * 33, "a.txt"])
async def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    esp = FolderEsp(tmp_path)
    with pytest.raises(NotSaved, match="is no name of a report"):
        await StickReports(esp).save(name, "x")
    assert esp.mounts == 0


async def test_a_stick_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    protected = FolderEsp(tmp_path, refusal="the stick is write-protected")
    with pytest.raises(NotSaved, match="write-protected"):
        await StickReports(protected).save("a", "x")
    assert protected.mounts == 0
    with pytest.raises(NotSaved, match="cannot be mounted"):
        await StickReports(FolderEsp(tmp_path, failure="it cannot be mounted")).save("a", "x")
    with pytest.raises(NotSaved, match="no EFI system partition"):
        await StickReports(FolderEsp(None)).save("a", "x")
    with pytest.raises(NotSaved, match="not started from a stick"):
        await NoReports().save("a", "x")


async def test_a_file_in_place_of_the_reports_folder_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "phase").write_text("a file")
    with pytest.raises(NotSaved, match=os.strerror(errno.ENOTDIR)):
        await StickReports(FolderEsp(tmp_path)).save("a", "x")
    assert (tmp_path / "phase").read_text() == "a file"
