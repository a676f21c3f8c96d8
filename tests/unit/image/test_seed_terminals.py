"""TERM of the kernel command line reaches the daemon and the emergency shell."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

SEED: Final = Path(__file__).parents[3] / "image" / "seed" / "root" / "usr" / "lib"
SHELL: Final = SEED / "phase-boot" / "shell.sh"


@pytest.mark.parametrize("name", ["phase-boot.service", "phase-shell.service"])
def test_systemd_passes_term_to_the_daemon(name: str) -> None:
    unit = (SEED / "systemd" / "system" / name).read_text().splitlines()
    assert "PassEnvironment=TERM" in unit[unit.index("[Service]") :]


@pytest.mark.parametrize(("term", "expected"), [("dumb", "dumb"), ("", "linux"), (None, "linux")])
def test_the_emergency_shell_gets_the_same_term(term: str | None, expected: str) -> None:
    (export,) = [line for line in SHELL.read_text().splitlines() if line.startswith("export ")]
    shown = subprocess.run(
        ["/bin/sh", "-c", f'{export}\necho "$TERM"'],
        env={} if term is None else {"TERM": term},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == expected
