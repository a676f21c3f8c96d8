"""A publisher that is killed or loses power before any system call."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from phase_boot.cli.main import main
from phase_boot.content.digest import Digest
from tests.support.downloads import data_of

Run = Callable[..., tuple[int, str, str]]

KILLED = 137
STEPS = frozenset(
    {"chmod", "fchmod", "fsync", "ioctl", "mkdir", "open", "rename", "rmdir", "unlink"}
)
"""Functions of the modules posix and fcntl that change files, or make changes durable."""
WORDS = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs --key @/key "
    "--issued 2025-11-12T08:00:00Z --expires +99y --skip-image-checks"
)


def is_step(called: Any) -> bool:
    """Tell whether a call of C code changes a file, or makes a change durable."""
    if getattr(called, "__module__", None) in {"posix", "fcntl"}:
        return called.__name__ in STEPS
    files = (io.BufferedRandom, io.BufferedWriter)
    return called.__name__ in {"write", "flush"} and isinstance(called.__self__, files)


def watched(words: list[str], before: Callable[[Any], None]) -> int:
    """Run a command, calling ``before`` with what each step is about to call."""

    def look(_frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and is_step(called):
            before(called)

    earlier = sys.getprofile()
    sys.setprofile(look)
    try:
        return main(words)
    finally:
        sys.setprofile(earlier)


def killed(words: list[str], at: int) -> bool:
    """Run a command in a process that is killed before step ``at``; tell whether it came there."""
    pid = os.fork()
    if not pid:
        left = at

        def count(_called: Any) -> None:
            nonlocal left
            if not left:
                os._exit(KILLED)
            left -= 1

        status = 99
        try:
            # What is printed is the parent's to print.
            sys.stdout = sys.stderr = io.StringIO()
            status = watched(words, count)
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    status = os.waitstatus_to_exitcode(ended)
    assert status in {0, KILLED}
    return status == KILLED


def content(site: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(site)): path.read_bytes()
        for path in site.rglob("*")
        if path.is_file() and ".publishing" not in path.parts
    }


@pytest.fixture
def words(run: Run, workdir: Path) -> Callable[[str, int], list[str]]:
    """Return what makes the command that publishes a version at a SITE."""
    assert run("key new @/key")[0] == 0
    for version in (1, 2):
        (workdir / f"rootfs-{version}").write_bytes(data_of(150_000, seed=version))

    def command(site: str, version: int) -> list[str]:
        rootfs = f"--rootfs @/rootfs-{version} --version {version} --out @/{site}"
        return f"{WORDS} {rootfs}".replace("@", str(workdir)).split()

    return command


@pytest.mark.parametrize("first", [True, False], ids=["a new SITE", "a SITE with a version"])
def test_a_publisher_killed_at_any_call_leaves_no_partial_file_and_the_next_run_completes(
    workdir: Path, words: Callable[[str, int], list[str]], *, first: bool
) -> None:
    base, whole, site = workdir / "base", workdir / "whole", workdir / "site"
    if not first:
        assert main(words("base", 1)) == 0
        shutil.copytree(base, whole)
    assert main(words("whole", 2)) == 0
    allowed = {**content(whole)}
    before = content(base) if base.exists() else {}
    at = 0
    while True:
        shutil.rmtree(site, ignore_errors=True)
        if not first:
            shutil.copytree(base, site)
        if not killed(words("site", 2), at):
            break
        found = content(site) if site.exists() else {}
        for name, data in found.items():
            assert data in {allowed.get(name), before.get(name)}, (at, name)
            assert stat.S_IMODE((site / name).stat().st_mode) == 0o644
            if name.startswith("cas/"):
                assert Digest.of(data).hex == name.rpartition("/")[2]
        if found.get("stable/amd64/manifest.json") == allowed["stable/amd64/manifest.json"]:
            assert found == allowed
        assert main([*words("site", 2), "--force"]) == 0
        assert content(site) == allowed
        assert not (site / ".publishing").exists()
        at += 1
    assert at > 30
    assert content(site) == allowed


def test_a_file_is_flushed_before_its_rename_and_the_folder_after(
    workdir: Path, words: Callable[[str, int], list[str]]
) -> None:
    workshop = workdir / "site/.publishing"
    synced: dict[str, bytes] = {}
    calls: list[str] = []

    def look(called: Any) -> None:
        calls.append(called.__name__)
        if called.__name__ == "fsync":
            # The first one after a file appeared is its own.
            found = content_of(workshop)
            kept = {name: data for name, data in synced.items() if name in found}
            synced.clear()
            synced.update(found | kept)
        if called.__name__ == "rename":
            lost = {name for name, data in content_of(workshop).items() if synced[name] != data}
            assert not lost

    assert watched(words("site", 1), look) == 0
    after = "".join(f"{name} " for name in calls if name != "open").split("rename ")[1:]
    assert len(after) == 6, "three artifacts, a list of chunks, and the manifest twice"
    assert all(steps.startswith("fsync ") for steps in after)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
