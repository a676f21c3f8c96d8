"""The wheel holds what runs on a machine, and neither the image builder nor the tests."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"phase_boot", "states", "policies", "loader"}


def test_the_wheel_holds_the_four_packages_that_run_on_a_machine(tmp_path: Path) -> None:
    # The build backend is in uv's cache as soon as the checkout itself is installed.
    build = ["uv", "build", "--wheel", "--quiet", "--out-dir", str(tmp_path), str(ROOT)]
    if subprocess.run([*build, "--offline"], check=False, capture_output=True).returncode:
        subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
