"""`phase-boot prune SITE` removes the files that no manifest names, and no others."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.content.digest import Digest
from tests.support.downloads import data_of

Run = Callable[..., tuple[int, str, str]]
PUBLISH = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --out @/site --issued 2025-11-12T08:00:00Z --expires +99y"
)


@pytest.fixture(autouse=True)
def key(run: Run) -> None:
    assert run("key new @/key")[0] == 0


def publish(run: Run, workdir: Path, version: int, *, words: str = "--key @/key") -> str:
    """Publish a version with a rootfs of its own, and return the sha256 of that."""
    rootfs = (workdir / "rootfs").read_bytes() + data_of(400_000, seed=version)
    (workdir / f"rootfs-{version}").write_bytes(rootfs)
    command = PUBLISH.replace("@/rootfs", f"@/rootfs-{version}")
    assert run(f"{command} {words} --version {version}")[::2] == (0, "")
    return Digest.of(rootfs).hex


def entries(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "site/cas/sha256").iterdir()}


def test_versions_before_the_last_two_go_and_the_site_still_verifies(
    run: Run, workdir: Path
) -> None:
    first, second, third = (publish(run, workdir, number) for number in (1, 2, 3))
    lists = {path.name for path in (workdir / "site/dag").iterdir()}
    status, out, err = run("prune @/site")
    assert (status, out.split()[0]) == (0, f"cas/sha256/{first}")
    assert "removed" in err
    assert first not in entries(workdir)
    assert {second, third} < entries(workdir)
    assert len(lists) == 3
    assert len(lists - {path.name for path in (workdir / "site/dag").iterdir()}) == 1
    assert run("verify @/site --key @/key --now 2025-11-20T00:00:00Z")[0] == 0
    assert run("prune @/site") == (0, "", "0 files, 0 bytes removed.\n")


def test_keeping_none_leaves_the_published_version_alone(run: Run, workdir: Path) -> None:
    older, newest = publish(run, workdir, 1), publish(run, workdir, 2)
    assert run("prune @/site --keep 0")[0] == 0
    assert older not in entries(workdir)
    assert newest in entries(workdir)


def test_a_dry_run_lists_the_files_and_removes_none(run: Run, workdir: Path) -> None:
    first = publish(run, workdir, 1)
    publish(run, workdir, 2)
    before = entries(workdir)
    status, out, err = run("prune @/site --keep 0 --dry-run --json")
    assert status == 0
    listed = [json.loads(line) for line in out.splitlines()]
    assert f"cas/sha256/{first}" in {each["path"] for each in listed}
    assert f"{sum(each['size'] for each in listed)} bytes would be removed" in err
    assert entries(workdir) == before


def test_leftovers_of_a_crash_are_pruned(run: Run, workdir: Path) -> None:
    publish(run, workdir, 1)
    orphan = workdir / "site/cas/sha256" / Digest.of(b"half a release").hex
    orphan.write_bytes(b"half a release")
    (workdir / "site/.publishing").mkdir()
    (workdir / "site/.publishing/rootfs").write_bytes(b"x")
    assert run("prune @/site")[0] == 0
    assert not orphan.exists()
    assert not (workdir / "site/.publishing").exists()


def test_a_draft_keeps_its_artifacts_even_before_anything_is_published(
    run: Run, workdir: Path
) -> None:
    drafted = publish(run, workdir, 1, words="--unsigned")
    assert run("prune @/site --keep 0")[0] == 0
    assert drafted in entries(workdir)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.unsigned.json", "manifests/x.json"])
def test_a_manifest_that_cannot_be_read_stops_it_before_anything_goes(
    run: Run, workdir: Path, name: str
) -> None:
    publish(run, workdir, 1)
    publish(run, workdir, 2)
    before = entries(workdir)
    (workdir / "site/stable/amd64" / name).write_bytes(b"{")
    status, _, err = run("prune @/site --keep 0")
    assert status == 1
    assert "nothing is removed" in err
    assert entries(workdir) == before


def test_a_site_without_a_manifest_loses_nothing(run: Run, workdir: Path) -> None:
    store = workdir / "site/cas/sha256"
    store.mkdir(parents=True)
    (store / Digest.of(b"x").hex).write_bytes(b"x")
    status, _, err = run("prune @/site")
    assert status == 1
    assert "publish first" in err
    assert len(entries(workdir)) == 1


def test_no_other_file_is_touched_and_no_link_is_followed(run: Run, workdir: Path) -> None:
    publish(run, workdir, 1)
    precious = workdir / "precious"
    precious.write_bytes(b"mine")
    store = workdir / "site/cas/sha256"
    (store / Digest.of(b"link").hex).symlink_to(precious)
    (store / "note\n.txt").write_bytes(b"by hand")
    (store / Digest.of(b"folder").hex).mkdir()
    status, out, err = run("prune @/site")
    assert (status, out) == (0, "")
    assert err.count("was kept") == 3
    assert r"note\n.txt" in err
    assert precious.read_bytes() == b"mine"


def test_a_locked_site_is_not_pruned(run: Run, workdir: Path) -> None:
    import fcntl  # noqa: PLC0415 - held here as another process would hold it

    publish(run, workdir, 1)
    fd = os.open(workdir / "site", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        status, _, err = run("prune @/site")
    finally:
        os.close(fd)
    assert status == 1
    assert "Another publisher" in err


def test_a_web_server_can_read_every_folder_at_any_umask(run: Run, workdir: Path) -> None:
    before = os.umask(0o077)
    try:
        publish(run, workdir, 1)
        assert run("key new @/root.key")[0] == 0
        words = "root new @/site/root --key @/root.key --channel stable --publisher @/key"
        assert run(f"{words} --expires +365d")[0] == 0
    finally:
        os.umask(before)
    for path in [workdir / "site", *(workdir / "site").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o555 == 0o555 if path.is_dir() else mode & 0o444 == 0o444, path
