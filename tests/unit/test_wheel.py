"""The wheel has the packages of a machine, and neither the image builder nor the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"phase_boot", "states", "policies", "loader"}


def test_the_wheel_holds_the_four_packages_that_run_on_a_machine(tmp_path: Path) -> None:
    # The locked environment has the build backend, so nothing is fetched from an index.
    options = ["--wheel", "--quiet", "--offline", "--no-build-isolation"]
    build = ["uv", "build", *options, "--python", sys.executable, "--out-dir", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
