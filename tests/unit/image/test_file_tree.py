"""Folders of files."""

from __future__ import annotations

import os
from pathlib import Path

from image import file_tree


def put(root: Path, name: str, data: bytes = b"") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_normalizing_leaves_no_trace_of_umask_and_clock(tmp_path: Path) -> None:
    put(tmp_path, "a/b").chmod(0o600)
    put(tmp_path, "a/c").chmod(0o700)
    file_tree.normalize(tmp_path, 1_000_000)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/c")]
    assert modes == [0o755, 0o644, 0o755]
    assert {(tmp_path / name).stat().st_mtime for name in (".", "a", "a/b")} == {1_000_000}


def test_a_digest_follows_names_contents_links_and_execute_bits(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    file = put(tmp_path / "tree", "a", b"1")
    digests = [file_tree.digest_of(tmp_path / "tree")]
    os.utime(file, (0, 0))
    assert file_tree.digest_of(tmp_path / "tree") == digests[0]
    file.chmod(0o755)
    digests.append(file_tree.digest_of(tmp_path / "tree"))
    file.write_bytes(b"2")
    digests.append(file_tree.digest_of(tmp_path / "tree"))
    (tmp_path / "tree/link").symlink_to("a")
    digests.append(file_tree.digest_of(tmp_path / "tree"))
    (tmp_path / "tree/folder").mkdir()
    digests.append(file_tree.digest_of(tmp_path / "tree"))
    file.rename(tmp_path / "tree/b")
    digests.append(file_tree.digest_of(tmp_path / "tree"))
    assert len(set(digests)) == len(digests)
