"""A publisher that is killed or loses power before any system call."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phase_boot.cli.main import main
from phase_boot.content.digest import Digest
from tests.support.downloads import data_of
from tests.support.killed_commands import killed, watched

Run = Callable[..., tuple[int, str, str]]

WORDS = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs --key @/key "
    "--issued 2025-11-12T08:00:00Z --expires +99y --skip-image-checks"
)


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
