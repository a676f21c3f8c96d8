"""The layout of partitions."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from image import gpt

MIB = 1024 * 1024
PARTS = (
    gpt.Partition(
        name="phase-esp",
        type="C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        uuid="7068A5E0-B007-4000-8000-000000000001",
        size=64 * MIB,
    ),
    gpt.Partition(
        name="phase-seed",
        type="4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
        uuid="7068A5E0-B007-4000-8000-000000000002",
        size=3 * MIB + 1,
        attributes="GUID:60 GUID:63",
    ),
)


def test_partitions_follow_each_other_on_whole_mebibytes() -> None:
    placed = gpt.lay_out(PARTS)
    assert [(each.start // MIB, each.size // MIB) for each in placed] == [(1, 64), (65, 4)]
    assert all(each.start % MIB == 0 and each.size % MIB == 0 for each in placed)


def test_the_disk_has_room_for_the_second_table() -> None:
    assert gpt.disk_size(gpt.lay_out(PARTS)) == 70 * MIB


@pytest.mark.skipif(not shutil.which("sfdisk"), reason="no sfdisk on this machine to ask")
def test_sfdisk_writes_the_plan_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    placed = gpt.lay_out(PARTS)
    disks = [tmp_path / name for name in ("one", "two")]
    for disk in disks:
        with disk.open("wb") as file:
            file.truncate(gpt.disk_size(placed))
        script = gpt.sfdisk_script(placed, "7068A5E0-B007-4000-8000-000000000000")
        subprocess.run(["sfdisk", "-q", disk], input=script.encode(), check=True)
    assert disks[0].read_bytes() == disks[1].read_bytes()
    output = subprocess.run(["sfdisk", "-J", disks[0]], capture_output=True, check=True).stdout
    table = json.loads(output)["partitiontable"]
    assert [part["name"] for part in table["partitions"]] == ["phase-esp", "phase-seed"]
    assert table["partitions"][1]["uuid"] == PARTS[1].uuid
    assert table["partitions"][1]["attrs"] == "GUID:60,63"
