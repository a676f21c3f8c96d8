"""The programs of others that we must get on with."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def needed(program: str, package: str) -> str:
    """Return the path of a program; without it, skip at home and fail in CI."""
    path = shutil.which(program, path=SYSTEM_PATH)
    if path is None:
        absent(f"{program} is not installed: run `apt-get install {package}`")
    return path


def absent(reason: str) -> NoReturn:
    """Skip the test for want of something, or fail where all must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
