"""The Makefile in a checkout whose path has blanks changes nothing outside of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILES = [ROOT / "Makefile", *(ROOT / "image").rglob("*.mk"), *(ROOT / "tests").rglob("*.mk")]
PYTHON = """#!/bin/sh
# `python -m venv FOLDER`, whose pip installs a uv that says what it was asked for.
mkdir -p "$3/bin"
printf '#!/bin/sh\\ncp "%s" "$(dirname "$0")/uv"\\n' "$UV_FAKE" > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""
UV = """#!/bin/sh
echo "$@" >> uv.log
mkdir -p .venv
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout, with neighbours whose names are the words of its path."""
    place = tmp_path / "my  work" / "phase boot"
    for file in MAKEFILES:
        target = place / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for name in ("pyproject.toml", "uv.lock"):
        (place / name).touch()
    for name, text in (("python", PYTHON), ("uv", UV)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for neighbour in (tmp_path / "my" / "build", tmp_path / "my  work" / "phase" / "build"):
        neighbour.mkdir(parents=True)
    return place


def make(
    checkout: Path, *words: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    place = checkout.parents[1]
    return subprocess.run(
        ["make", f"PYTHON={place}/python", "PACKAGES=", *words],
        cwd=folder or checkout,
        env={"PATH": "/usr/bin:/bin", "UV_FAKE": f"{place}/uv"},
        capture_output=True,
        text=True,
        check=False,
    )


def outside(checkout: Path) -> set[str]:
    found = set()
    for folder, names, files in os.walk(checkout.parents[1]):
        if Path(folder) == checkout:
            names.clear()
            continue
        found |= {str(Path(folder) / name) for name in (*names, *files)}
    return found


@pytest.mark.skipif(shutil.which("uv", path="/usr/bin:/bin") is not None, reason="uv is installed")
def test_a_checkout_with_blanks_in_its_path_is_set_up_within_it(checkout: Path) -> None:
    before = outside(checkout)
    done = make(checkout, ".venv/done")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sync --frozen" in (checkout / "uv.log").read_text()
    assert (checkout / "build/tools/bin/uv").exists()
    assert outside(checkout) == before


def test_cleaning_a_checkout_with_blanks_in_its_path_removes_nothing_else(checkout: Path) -> None:
    (checkout / "build" / "x").mkdir(parents=True)
    (checkout / "a b" / "__pycache__").mkdir(parents=True)
    before = outside(checkout)
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / "build").exists()
    assert not (checkout / "a b" / "__pycache__").exists()
    assert outside(checkout) == before


def test_cleaning_from_another_folder_is_refused(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "build").mkdir(parents=True)
    done = make(checkout, "-f", str(checkout / "Makefile"), "clean", folder=other)
    assert done.returncode != 0
    assert "this is not the checkout" in done.stderr
    assert (other / "build").is_dir()


@pytest.mark.parametrize("name", ["KEY", "ROOT_KEY", "ROOT"])
def test_a_key_or_root_with_a_blank_in_its_name_is_refused(checkout: Path, name: str) -> None:
    done = make(checkout, f"{name}=my key", "help")
    assert done.returncode != 0
    assert f'{name}="my key" has a blank' in done.stderr


def test_every_recipe_quotes_the_path_of_the_checkout() -> None:
    for file in MAKEFILES:
        for line in file.read_text().splitlines():
            if not line.startswith("#") and ":=" not in line:
                bare = (
                    line.replace('"$(CURDIR)', "").replace('"$(TOOLS)', "").replace('"$(UV)"', "")
                )
                assert not any(f"$({word})" in bare for word in ("CURDIR", "TOOLS", "UV")), line
