"""The target's scripts, run unchanged over a given command line in their own mounts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from phase_boot.handoff.cmdline import for_target

SCRIPTS = Path("image/target/root/usr/lib/phase-boot").absolute()
ROOTFS = f"sha256:{'5' * 64}"
HIDDEN = "x=\"a phase.mode=local phase.version=9 b\" 'phase.mode=internet' phase.mode=local *"
UNDER = """
mount -t tmpfs run /run && mkdir -p /run/phase && mount --bind "$1" /proc/cmdline || exit 99
mount -t tmpfs dev /dev && touch /dev/null /dev/kmsg /dev/console || exit 99
echo hash >/run/phase/rootfs.sha256; echo '{}' >/run/phase/handoff.json
sh "$2" >/dev/console; cat /dev/console
"""


def run(script: str, line: str, folder: Path) -> str:
    given = folder / "cmdline"
    given.write_text(f"{line}\n")
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", UNDER, "sh"]
    done = subprocess.run(
        [*inside, str(given), str(SCRIPTS / script)], check=False, capture_output=True, text=True
    )
    assert done.returncode != 99, done.stderr
    return done.stdout


@pytest.mark.parametrize("signed", ["quiet", HIDDEN, 'quiet "', f"quiet -- {HIDDEN}"])
@pytest.mark.parametrize("mode", ["private", "internet"])
def test_the_report_repeats_the_hand_over_document(mode: str, signed: str, tmp_path: Path) -> None:
    line = for_target(signed, mode=mode, version="2025.11.12", rootfs=ROOTFS)
    report = json.loads(run("report.sh", line, tmp_path).strip().splitlines()[-1])
    assert (report["mode"], report["version"]) == (mode, "2025.11.12")


@pytest.mark.parametrize("signed", ["quiet", HIDDEN, f"quiet -- {HIDDEN}"])
def test_no_signed_parameter_makes_cache_writable_in_private(signed: str, tmp_path: Path) -> None:
    # Not through the hand-over, which leaves such words out: the script by itself is not fooled.
    assert run("cache.sh", f"phase.mode=private {signed}", tmp_path) == ""
    # It does try in a mode that may write.
    assert "cannot be written to" in run("cache.sh", f"phase.mode=local {signed}", tmp_path)
