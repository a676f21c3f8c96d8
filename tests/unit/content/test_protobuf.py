"""Fields of protobuf messages, as hostile peers may write them."""

from __future__ import annotations

import pytest

from phase_boot.content.protobuf import bytes_field, fields, number_field


def test_what_is_written_is_read_again() -> None:
    message = number_field(1, 300) + bytes_field(9, b"text") + bytes_field(20, b"")
    assert list(fields(message)) == [(1, 300), (9, b"text"), (20, b"")]


@pytest.mark.parametrize(
    "message",
    [b"\x0a", b"\x0a\x02a", b"\x08", b"\x08\x80", b"\x0d0000", b"\x0b", b"\x0a" + b"\xff" * 9],
)
def test_a_message_that_is_cut_or_has_another_wire_type_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        list(fields(message))
