from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from image.bench.boot import squashfs_bytes
from image.bench.results import (
    Bench,
    Threshold,
    merge_rows,
    read_rows,
    replace_rows,
    table,
)

ABOUT = Bench(arch="amd64", machine="paper", accel="tcg")


def test_a_row_has_median_and_spread_and_compares_with_its_threshold() -> None:
    row = ABOUT.row("memory", "MiB", [90.0, 50.0, 100.0], threshold=Threshold(96.0))
    assert (row.value, row.spread, row.threshold, row.met) == (90.0, 50.0, "<= 96 MiB", True)
    assert ABOUT.row("memory", "MiB", [97.0], threshold=Threshold(96.0)).met is False
    assert ABOUT.row("memory", "MiB", [97.0]).met is None


def test_a_peer_is_compared_by_its_median() -> None:
    row = ABOUT.compare(
        ABOUT.row("jump", "s", [20.0]),
        "script",
        [8.0, 10.0, 90.0],
        threshold=Threshold(2.0, of_peer=True),
    )
    assert (row.peer_value, row.ratio, row.threshold, row.met) == (10.0, 2.0, "<= 2 x peer", True)
    slow = ABOUT.compare(
        ABOUT.row("jump", "s", [21.0]), "script", [10.0], threshold=Threshold(2.0, of_peer=True)
    )
    assert slow.met is False


def test_rows_of_another_architecture_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "boot.json"
    arm = Bench(arch="arm64", machine="paper", accel="tcg").row("jump", "s", [1.0])
    replace_rows(path, [ABOUT.row("jump", "s", [1.0]), arm])
    replace_rows(path, [ABOUT.row("jump", "s", [2.0])])
    assert {(row.arch, row.value) for row in read_rows(path)} == {("amd64", 2.0), ("arm64", 1.0)}
    (one, _) = json.loads(path.read_text())
    assert list(one) == [
        "name", "arch", "value", "unit", "spread", "peer",
        "peer_value", "ratio", "threshold", "met", "machine", "accel",
    ]  # fmt: skip


def test_rows_that_were_not_measured_again_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "fetch.json"
    merge_rows(path, [ABOUT.row("jump", "s", [1.0]), ABOUT.row("walk", "s", [9.0])])
    merge_rows(path, [ABOUT.row("jump", "s", [2.0]), ABOUT.row("run", "s", [3.0])])
    assert [(row.name, row.value) for row in read_rows(path)] == [
        ("jump", 2.0), ("walk", 9.0), ("run", 3.0),
    ]  # fmt: skip


def test_a_file_that_holds_no_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "boot.json"
    assert read_rows(path) == []
    path.write_text('[{"name": "jump"}]')
    with pytest.raises(ValueError, match=r"boot\.json is no list of result rows"):
        read_rows(path)


def test_the_table_marks_missed_thresholds() -> None:
    rows = [
        ABOUT.row("memory", "MiB", [97.0], threshold=Threshold(96.0)),
        ABOUT.compare(ABOUT.row("jump", "s", [20.0]), "script", [10.0]),
    ]
    head, memory, jump = table(rows)
    assert head.startswith("name")
    assert memory.endswith("MISSED")
    assert "script 10.00" in jump
    assert "2.00" in jump


def test_the_size_of_a_squashfs_is_read_from_its_superblock() -> None:
    superblock = bytearray(96)
    superblock[:4] = b"hsqs"
    struct.pack_into("<Q", superblock, 40, 12345)
    assert squashfs_bytes(bytes(superblock)) == 12345
    with pytest.raises(ValueError, match="no squashfs"):
        squashfs_bytes(bytes(96))


def test_if_more_is_better_a_threshold_is_a_lower_bound() -> None:
    about = Bench(arch="amd64", machine="m", accel="native")
    threshold = Threshold(0.93, least=True)
    assert about.row("share", "of the sum", [0.93, 0.95, 0.9], threshold=threshold).met
    row = about.row("share", "of the sum", [0.92], threshold=threshold)
    assert (row.met, row.threshold) == (False, ">= 0.93 of the sum")
