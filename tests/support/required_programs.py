"""Programs that a test needs: found, or a reason to skip."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def needed(program: str, package: str) -> str:
    """Return the path of a program; if it is missing, fail in CI and skip elsewhere."""
    path = shutil.which(program, path=SYSTEM_PATH)
    if path is None:
        absent(f"{program} is not installed: run `apt-get install {package}`")
    return path


def absent(reason: str) -> NoReturn:
    """Fail in CI, where all tests must run; skip elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
