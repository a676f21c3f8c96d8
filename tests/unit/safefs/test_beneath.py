"""Opening below an untrusted folder: no link, no pipe, and no path out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phase_boot.safefs.beneath import folder_at, folder_beneath, open_beneath, read_regular
from tests.support.descriptors import open_descriptors

PATH = "a/b/c/file"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for top in ("root", "elsewhere"):
        file = tmp_path / top / PATH
        file.parent.mkdir(parents=True)
        file.write_text(top)
    return tmp_path / "root"


def test_a_regular_file_is_read_and_no_descriptor_stays_open(root: Path) -> None:
    before = open_descriptors()
    with open_beneath(root, PATH) as file:
        assert file.read() == b"root"
    assert open_descriptors() == before


def names_in(place: int) -> list[str]:
    with os.scandir(place) as entries:
        return [entry.name for entry in entries]


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_planted_at_any_component_is_refused(
    root: Path,
    depth: int,
    relative: bool,  # noqa: FBT001 - a case
) -> None:
    parts = PATH.split("/")[: depth + 1]
    path = root.joinpath(*parts)
    path.rename(path.with_name("moved"))
    other = root.parent / "elsewhere" / Path(*parts)
    path.symlink_to(os.path.relpath(other, path.parent) if relative else other)
    before = open_descriptors()
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP, ENOTDIR or our own EINVAL
        open_beneath(root, PATH)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "../elsewhere/a/b/c/file", "a/../../elsewhere/a/b/c/file", "/etc/passwd"),
        *("a//b/c/file", "a/./b/c/file", "a/b/c/file/", "a/b/c/file\0", "a/b/c"),
    ],
)
def test_a_path_that_is_not_plain_names_to_a_file_is_refused(root: Path, path: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - of several kinds
        open_beneath(root, path)


def test_a_pipe_or_a_device_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        open_beneath(root, "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        open_beneath(Path("/dev"), "null")
    with pytest.raises(OSError, match="not a plain file"):
        read_regular(root / "pipe", 9)
    before = open_descriptors()
    with pytest.raises(OSError, match="not a plain file"):
        read_regular(root, 9)
    assert open_descriptors() == before


def test_the_root_may_be_a_link_only_if_the_caller_allows_it(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    with open_beneath(link, PATH) as file:
        assert file.read() == b"root"
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP or ENOTDIR
        open_beneath(link, PATH, follow_root=False)


def test_folders_are_created_below_and_never_through_a_link(root: Path) -> None:
    with folder_beneath(root, ["x", "y"], create=0o700) as place:
        assert not names_in(place)
    (root / "x" / "link").symlink_to(root.parent / "elsewhere")
    with (
        pytest.raises(OSError),  # noqa: PT011 - ELOOP or ENOTDIR
        folder_beneath(root, ["x", "link", "z"], create=0o700),
    ):
        pytest.fail("it leads elsewhere")
    with folder_beneath(root, ["x"]) as place, folder_at(place, "y") as inner:
        assert not names_in(inner)
        with pytest.raises(OSError), folder_at(place, "link"):  # noqa: PT011 - the same
            pytest.fail("it leads elsewhere")
    assert not (root.parent / "elsewhere" / "z").exists()


def test_a_folder_exchanged_for_a_link_while_it_is_open_leads_nowhere_else(root: Path) -> None:
    with folder_beneath(root, ["a", "b"]) as place:
        (root / "a").rename(root / "old")
        (root / "a").symlink_to(root.parent / "elsewhere" / "a")
        with folder_at(place, "c") as inner:
            fd = os.open("file", os.O_RDONLY, dir_fd=inner)
            assert os.read(fd, 99) == b"root"
            os.close(fd)


def test_a_file_is_read_up_to_its_limit_and_one_byte(root: Path) -> None:
    assert read_regular(root / PATH, 2) == b"roo"
