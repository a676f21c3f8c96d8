"""A detector of secrets in memory: what is there is found wherever it lies and however spelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.lab.memory_search import MAX_MATCHES, WINDOW, find_all

SECRET = "correct horse"  # noqa: S105 - a word to look for


@pytest.mark.parametrize("at", [0, 1000, WINDOW - 5, WINDOW, 3 * WINDOW - 1])
@pytest.mark.parametrize("spelling", ["utf-8", "utf-16-le"])
def test_a_word_is_found_wherever_it_lies(at: int, spelling: str, tmp_path: Path) -> None:
    path = tmp_path / "memory"
    with path.open("wb") as file:
        file.seek(at)
        file.write(SECRET.encode(spelling))
        file.truncate(4 * WINDOW)
    assert find_all(path, [SECRET, "another", b"\xff"]) == {
        SECRET: (at,),
        "another": (),
        b"\xff": (),
    }


def test_a_word_that_is_everywhere_takes_no_more_room_than_enough(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"a" * (2 * WINDOW))
    assert find_all(path, [b"a"])[b"a"] == tuple(range(MAX_MATCHES))


def test_an_empty_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="everywhere"):
        find_all(tmp_path, [""])
