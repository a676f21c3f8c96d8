from __future__ import annotations

import pytest

from image.lab.guest_events import Event, LineReader, Unreadable

LINE = b'{"event":"fetch.progress","seq":7,"at":3.5,"artifact":"rootfs","done":10,"new":[1]}'


def test_an_event_keeps_unknown_fields() -> None:
    (event,) = LineReader().feed(LINE + b"\n", arrived=100.0)
    assert isinstance(event, Event)
    assert (event.name, event.seq, event.at) == ("fetch.progress", 7, 3.5)
    assert event.fields == {"artifact": "rootfs", "done": 10, "new": [1]}
    assert event.kernel_started == 96.5


def test_lines_may_arrive_in_pieces_and_several_at_once() -> None:
    reader = LineReader()
    assert reader.feed(LINE[:20], arrived=1.0) == []
    found = reader.feed(LINE[20:] + b"\n" + LINE + b"\r\n" + LINE[:3], arrived=2.0)
    assert [event.arrived for event in found] == [2.0, 2.0]
    assert all(isinstance(event, Event) for event in found)


def test_a_line_interrupted_by_kexec_is_kept_and_hides_no_other() -> None:
    torn, whole = LineReader().feed(LINE[:30] + b"\n" + LINE + b"\n", arrived=1.0)
    assert isinstance(torn, Unreadable)
    assert torn.line == LINE[:30]
    assert isinstance(whole, Event)


def test_an_endless_line_takes_bounded_memory() -> None:
    reader = LineReader(max_line=100)
    (flood,) = reader.feed(b"x" * 101, arrived=1.0)
    assert isinstance(flood, Unreadable)
    assert reader.feed(b"\n", arrived=1.0) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Linux version 6.12", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"seq":1,"at":1}', "`event`"),
        (b'{"event":"x","at":1}', "`seq`"),
        (b'{"event":"x","seq":true,"at":1}', "`seq`"),
        (b'{"event":"x","seq":1,"at":"1"}', "`at`"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_a_line_that_is_no_event_has_a_reason(line: bytes, reason: str) -> None:
    (found,) = LineReader().feed(line + b"\n", arrived=1.0)
    assert isinstance(found, Unreadable)
    assert reason in found.reason


def test_a_field_that_is_no_number_is_named() -> None:
    (event,) = LineReader().feed(LINE + b"\n", arrived=1.0)
    assert isinstance(event, Event)
    assert event.number("done") == 10.0
    assert event.text("artifact") == "rootfs"
    assert event.text("absent") == ""
    with pytest.raises(TypeError, match=r"`fetch\.progress` has no number `artifact`"):
        event.number("artifact")
