"""Artifacts of a SITE: written once, and published as they were hashed."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.content.cid import Cid
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.content.list_file import list_root
from phase_boot.publish.errors import PublishError
from phase_boot.publish.site import open_site
from phase_boot.store.layout import dag_path, entry_path
from tests.support.dags import car_of, chunk_list
from tests.support.downloads import data_of
from tests.support.pseudo_terminals import pseudo_terminal

Run = Callable[..., tuple[int, str, str]]
Mark = tuple[int, int, int]

ROOTFS = data_of(400_000, seed=7)
WORDS = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --key @/key --out @/site --expires +90d --skip-image-checks"
)


def refusing(number: int) -> Callable[[int, int], None]:
    """Return what answers as a file system that cannot share blocks, or fails."""

    def share(_source: int, _target: int) -> None:
        raise OSError(number, os.strerror(number))

    return share


def sharing(source: int, target: int) -> None:
    """Give the second file the bytes of the first, as FICLONE does; positions stay."""
    os.pwrite(target, os.pread(source, os.fstat(source).st_size, 0), 0)


def marks(folder: Path) -> dict[str, Mark]:
    """Return which file has each name, and when it was written last."""
    found = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (each.st_ino, each.st_mtime_ns, each.st_mode) for name, each in found.items()}


def dag_named(workdir: Path) -> Cid:
    document = json.loads((workdir / "site/stable/amd64/manifest.json").read_bytes())
    return Cid.parse(document["dags"]["rootfs"])


@pytest.fixture
def site(run: Run, workdir: Path) -> Path:
    """Return a SITE with one version."""
    (workdir / "rootfs").write_bytes(ROOTFS)
    assert run("key new @/key")[0] == 0
    assert run(f"{WORDS} --version 1")[0] == 0
    return workdir / "site"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input"
    path.write_bytes(ROOTFS)
    return path


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """Return where the store of the SITE has, or will have, the input."""
    return tmp_path / "site" / entry_path(Digest.of(ROOTFS))


def store(tmp_path: Path, source: Path, share: Callable[[int, int], None] = sharing) -> None:
    with open_site(tmp_path / "site", share=share) as site:
        site.add("rootfs", source)


def test_the_second_publication_writes_no_byte_of_an_artifact_or_its_chunks(
    run: Run, site: Path
) -> None:
    before = marks(site / "cas/sha256"), marks(site / "dag")
    assert run(f"{WORDS} --version 2")[0] == 0
    assert (marks(site / "cas/sha256"), marks(site / "dag")) == before
    assert run("verify @/site --key @/key")[0] == 0


def test_the_chunk_list_of_a_file_of_many_chunks_is_named(site: Path, workdir: Path) -> None:
    document = json.loads((site / "stable/amd64/manifest.json").read_bytes())
    nodes = (site / dag_path(dag_named(workdir))).read_bytes()
    assert document["chunk_lists"]["rootfs"] == str(list_root(nodes))
    single = {name for name, cid in document["dags"].items() if cid.startswith("bafkrei")}
    assert single
    assert not single & document["chunk_lists"].keys()


def test_an_artifact_that_moved_to_another_channel_is_not_copied(run: Run, site: Path) -> None:
    before = marks(site / "cas/sha256"), marks(site / "dag")
    assert run(f"{WORDS.replace('stable', 'beta')} --version 1")[0] == 0
    assert (marks(site / "cas/sha256"), marks(site / "dag")) == before


@pytest.mark.parametrize("damaged", [ROOTFS[:-1] + b"?", ROOTFS[:-1], b""])
def test_a_damaged_entry_is_replaced_and_named(run: Run, site: Path, damaged: bytes) -> None:
    entry = site / entry_path(Digest.of(ROOTFS))
    entry.write_bytes(damaged)
    status, _, err = run(f"{WORDS} --version 2")
    assert status == 0
    assert f"{entry_path(Digest.of(ROOTFS))} " in err
    assert "was replaced: check the disk" in err
    assert entry.read_bytes() == ROOTFS
    assert run("verify @/site --key @/key")[0] == 0


def test_a_link_in_place_of_an_entry_is_replaced_and_its_target_kept(
    run: Run, workdir: Path, site: Path
) -> None:
    entry = site / entry_path(Digest.of(ROOTFS))
    entry.unlink()
    entry.symlink_to(workdir / "rootfs")
    status, _, err = run(f"{WORDS} --version 2")
    assert (status, f"{entry.name} is not a regular file in the store and was replaced" in err) == (
        0,
        True,
    )
    assert not entry.is_symlink()
    assert entry.read_bytes() == (workdir / "rootfs").read_bytes() == ROOTFS


def test_a_damaged_module_is_replaced_and_named(run: Run, workdir: Path, site: Path) -> None:
    (workdir / "module").write_bytes(b"\0asm")
    assert run(f"{WORDS} --version 2 --module @/module")[0] == 0
    entry = site / entry_path(Digest.of(b"\0asm"))
    entry.write_bytes(b"?asm")
    status, _, err = run(f"{WORDS} --version 3 --module @/module")
    assert (status, f"{entry_path(Digest.of(entry.read_bytes()))} has other bytes" in err) == (
        0,
        True,
    )
    assert entry.read_bytes() == b"\0asm"


def test_an_entry_that_a_web_server_cannot_read_becomes_readable(run: Run, site: Path) -> None:
    entry = site / entry_path(Digest.of(ROOTFS))
    entry.chmod(0o600)
    assert run(f"{WORDS} --version 2")[0] == 0
    assert stat.S_IMODE(entry.stat().st_mode) == 0o644


def test_a_pipe_is_published_and_not_written_a_second_time(tmp_path: Path, entry: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    for _ in range(2):
        writer = threading.Thread(target=pipe.write_bytes, args=(ROOTFS,))
        writer.start()
        store(tmp_path, pipe)
        writer.join()
        assert entry.read_bytes() == ROOTFS
        found.append(marks(entry.parent))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "number",
    [errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM],
)
def test_if_no_blocks_can_be_shared_the_bytes_are_copied(
    tmp_path: Path, source: Path, entry: Path, number: int
) -> None:
    store(tmp_path, source, refusing(number))
    assert entry.read_bytes() == ROOTFS
    assert entry.stat().st_nlink == 1


def test_shared_blocks_are_hashed_in_the_new_file(
    tmp_path: Path, source: Path, entry: Path
) -> None:
    read: list[str] = []
    with open_site(
        tmp_path / "site", share=sharing, report=lambda step, _done, _size: read.append(step)
    ) as site:
        site.add("rootfs", source)
    assert entry.read_bytes() == ROOTFS
    assert set(read) == {"rootfs: check", "rootfs: flush"}


def test_a_disk_that_fails_while_blocks_are_shared_publishes_nothing(
    tmp_path: Path, source: Path, entry: Path
) -> None:
    with pytest.raises(PublishError, match="Input/output error"):
        store(tmp_path, source, refusing(errno.EIO))
    assert not entry.parent.exists()
    assert list((tmp_path / "site").iterdir()) == []


def test_the_name_of_an_entry_is_the_hash_of_what_was_cloned_not_of_the_input(
    tmp_path: Path, source: Path, entry: Path
) -> None:
    before = source.stat()

    def share(reader: int, target: int) -> None:
        sharing(reader, target)
        source.write_bytes(bytes(len(ROOTFS)))
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))

    store(tmp_path, source, share)
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]
    assert entry.read_bytes() == ROOTFS


def test_an_input_that_changes_after_it_was_cloned_is_not_published(
    tmp_path: Path, source: Path, entry: Path
) -> None:
    def share(reader: int, target: int) -> None:
        sharing(reader, target)
        with source.open("ab") as writer:
            writer.write(b"more")

    with pytest.raises(PublishError, match="changed while it was read"):
        store(tmp_path, source, share)
    assert not entry.parent.exists()


def test_an_edit_of_the_input_after_publishing_does_not_reach_the_site(
    tmp_path: Path, source: Path, entry: Path
) -> None:
    store(tmp_path, source, refusing(errno.EOPNOTSUPP))
    with source.open("r+b") as writer:
        writer.write(b"edited in place")
    assert entry.read_bytes() == ROOTFS


def lists_of_others() -> Iterator[tuple[str, bytes, list[int]]]:
    yield "another file", bytes(reversed(ROOTFS)), [4096] * 97 + [len(ROOTFS) - 97 * 4096]
    yield "chunks that are too small", ROOTFS, [1024] * 390 + [len(ROOTFS) - 390 * 1024]
    yield "chunks that are too large", ROOTFS, [100_000] * 4


@pytest.mark.parametrize(("data", "sizes"), [(data, sizes) for _, data, sizes in lists_of_others()])
def test_chunks_that_a_manifest_of_the_site_names_wrongly_are_not_signed(
    run: Run, workdir: Path, site: Path, data: bytes, sizes: list[int]
) -> None:
    right = dag_named(workdir)
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    pieces = [data[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    tree = build_dag(chunk_list(pieces))
    (site / dag_path(tree.root)).write_bytes(car_of(tree))
    manifest = site / "stable/amd64/manifest.json"
    manifest.write_text(manifest.read_text().replace(str(right), str(tree.root)))
    assert run(f"{WORDS} --version 2")[0] == 0
    assert dag_named(workdir) == right


@pytest.mark.parametrize("damage", [b"", b"no list of chunks", None])
def test_a_damaged_chunk_list_is_written_again(
    run: Run, workdir: Path, site: Path, damage: bytes | None
) -> None:
    path = site / dag_path(dag_named(workdir))
    whole = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert run(f"{WORDS} --version 2")[0] == 0
    assert path.read_bytes() == whole


def test_a_manifest_that_cannot_be_read_only_costs_time(
    run: Run, workdir: Path, site: Path
) -> None:
    right = dag_named(workdir)
    (site / "beta/amd64").mkdir(parents=True)
    (site / "beta/amd64/manifest.json").write_text("{")
    assert run(f"{WORDS} --version 2")[0] == 0
    assert dag_named(workdir) == right


def test_a_terminal_shows_the_progress_of_publishing(
    workdir: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    pipe = workdir / "pipe"
    os.mkfifo(pipe)
    words = f"{WORDS} --version 2".replace("@/rootfs", "@/pipe").replace("@", str(workdir)).split()
    with pseudo_terminal(80) as (stream, screen):

        def feed() -> None:
            """Write a MiB every now and then, until the progress of that is shown."""
            with pipe.open("wb") as writer:
                for _ in range(400):
                    writer.write(bytes(1 << 20))
                    if "rootfs: copy" in screen.text:
                        return
                    shown.wait(0.05)

        shown = threading.Event()
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        with redirect_stderr(stream):
            assert main(words) == 0
        feeder.join()
    assert "\r  rootfs: copy [" in screen.text
    assert "\r\x1b[KThe " in screen.text
    assert site.is_dir()
