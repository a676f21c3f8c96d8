"""A publisher, a target and a stick for each architecture, built as a person would build them.

Two xdist workers: two machines at once, which is what two cores carry. Each takes whatever test is
left, so that neither waits for the other's architecture; what both use is built while it is made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from image.build_cache import build_lock
from image.lab.provider_process import PROGRAM
from phase_boot.content.arch import Arch
from tests.support.boot_images import CHANNEL, Published, built, program


@pytest.fixture(scope="session")
def made() -> dict[Arch, Published]:
    """What this worker has built so far."""
    return {}


@pytest.fixture
def published(arch: Arch, made: dict[Arch, Published]) -> Published:
    """Everything that a boot of `arch` takes; built once."""
    if arch not in made:
        made[arch] = built(arch)
    return made[arch]


@pytest.fixture
def foreign(arch: Arch, request: pytest.FixtureRequest) -> Path:
    """A stick of another publisher, with a root of trust of its own; built once."""
    folder = request.config.rootpath / "build" / "e2e" / f"foreign-{arch}"
    stick, root = folder / "stick.img", folder / "roots" / "1.json"
    with build_lock(folder):
        root_key, key = folder / "root.key", folder / "publisher.key"
        for path in (root_key, key):
            if not path.exists():
                program(str(PROGRAM), "key", "new", str(path))
        if not root.exists():
            by = ("--key", str(root_key), "--publisher", str(key), "--expires", "+3650d")
            program(str(PROGRAM), "root", "new", str(root.parent), "--channel", CHANNEL, *by)
        common = ("--arch", str(arch), "--channel", CHANNEL, "--root", str(root))
        program(sys.executable, "-m", "image", "build", *common, "--no-public", "--out", str(stick))
    return stick
