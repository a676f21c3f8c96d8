from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.arch import Arch
from phase_boot.content.version import Version


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("2025.11.12", "2025.11.12.1"),
        ("2025.9.1", "2025.10.1"),
        ("1", "1.0"),
        ("0.9.9", "1"),
        ("2025.11.9", "2025.11.10"),
    ],
)
def test_versions_are_compared_number_by_number(lower: str, higher: str) -> None:
    assert Version.parse(lower) < Version.parse(higher)


def test_a_leading_zero_changes_the_text_and_not_the_version() -> None:
    assert Version.parse("2025.10.01") == Version.parse("2025.10.1")
    assert str(Version.parse("2025.10.01")) == "2025.10.01"


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".1", "1..2", "v1", "1.0-rc1", " 1", "1\n", "-1", "\u0661.\u0662", "1" * 65],
)
def test_anything_but_dotted_digits_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="dotted whole numbers"):
        Version.parse(text)


@given(st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=6))
def test_the_text_of_a_version_parses_to_the_same_version(numbers: list[int]) -> None:
    text = ".".join(map(str, numbers))
    assert Version.parse(text).numbers == tuple(numbers)
    assert str(Version.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "arch"),
    [
        ("amd64", Arch.AMD64),
        ("x86_64", Arch.AMD64),
        ("arm64", Arch.ARM64),
        ("aarch64", Arch.ARM64),
    ],
)
def test_both_names_of_an_architecture_are_read(text: str, arch: Arch) -> None:
    assert Arch.parse(text) is arch


@pytest.mark.parametrize("text", ["", "AMD64", "riscv64", "i386"])
def test_another_architecture_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid Arch"):
        Arch.parse(text)
