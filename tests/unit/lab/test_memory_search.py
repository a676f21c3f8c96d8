"""The search for secrets in memory finds them at every offset and in every encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.lab.memory_search import MAX_MATCHES, WINDOW, find_all

SECRET = "correct horse"  # noqa: S105 - a word to look for


@pytest.mark.parametrize("at", [0, 1000, WINDOW - 5, WINDOW, 3 * WINDOW - 1])
@pytest.mark.parametrize("spelling", ["utf-8", "utf-16-le"])
def test_a_text_is_found_at_every_offset_and_in_every_encoding(
    at: int, spelling: str, tmp_path: Path
) -> None:
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


def test_matches_of_one_text_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"a" * (2 * WINDOW))
    assert find_all(path, [b"a"])[b"a"] == tuple(range(MAX_MATCHES))


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="everywhere"):
        find_all(tmp_path, [""])
