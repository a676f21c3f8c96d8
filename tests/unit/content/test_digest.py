from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.digest import Digest


@given(st.binary(max_size=64))
def test_a_digest_round_trips_as_text(data: bytes) -> None:
    digest = Digest.of(data)
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha512:" + "0" * 64]
)
def test_text_other_than_a_sha256_is_refused_as_a_digest(text: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        Digest.parse(text)
