"""The example plugin of docs/plugin-api.md, built, installed and drilled."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from phase_boot.drill.matrix import random_plan

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "pinned-discover"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a Python that has the package too."""
    site = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    place = ["--python", sys.executable, "--target", str(site)]
    subprocess.run(
        ["uv", "pip", "install", *options, *place, str(EXAMPLE)], check=True, capture_output=True
    )
    return os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}


def test_the_installed_package_replaces_discover_and_every_invariant_holds_under_each_fault(
    installed: dict[str, str],
) -> None:
    drill = subprocess.run(
        [sys.executable, EXAMPLE / "drill.py"],
        env=installed,
        check=False,
        capture_output=True,
        text=True,
    )
    handlers, candidates, end, summary = drill.stdout.splitlines()
    assert drill.returncode == 0, drill.stderr
    assert "pinned_discover" in handlers
    assert "states.discover" not in handlers
    assert candidates == "candidates: http://first/stable/amd64/manifest.json"
    assert end == "end: target"
    held, _, rest = summary.partition(" of ")
    assert held == rest.split()[0]
    assert int(held) > 100


def test_phase_boot_drill_runs_the_installed_package(installed: dict[str, str]) -> None:
    # Its policy has no URL, so the package's Discover finds nothing in it.
    seed = next(n for n in count() if random_plan(str(n), 0)[0] == "peer_sharing")
    drill = ["drill", "--seed", str(seed), "--faults", "0"]
    command = [sys.executable, "-m", "phase_boot.cli", *drill]
    shipped = subprocess.run(command, check=True, capture_output=True, text=True)
    replaced = subprocess.run(command, env=installed, check=True, capture_output=True, text=True)
    assert "discover -> verify" in shipped.stdout
    assert "discover -> verify" not in replaced.stdout
    assert "discover -> shell       give_up  (NothingFound)" in replaced.stdout
