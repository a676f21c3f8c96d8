"""What a server has, compared with the record of the SITE: state, age, validity left."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from phase_boot.adapters.http.exchange import Answer
from phase_boot.announce.sighting import Sighting, State, judge
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_record import verify_record
from tests.support.ipns_records import NAME, NOW, OTHER_KEY, record

SEQUENCE = int(NOW.timestamp())
UNTIL = NOW + timedelta(hours=48)
LATER = NOW + timedelta(hours=3, minutes=20)
OURS = record(sequence=SEQUENCE, validity=UNTIL)


def seen(
    raw: bytes | None, kind: str = RECORD_TYPE, *, now: datetime = LATER, **more: Any
) -> Sighting:
    ours = verify_record(OURS, NAME, NOW)
    fields: dict[str, Any] = {"kind": "router", "place": "https://r.example", **more}
    unjudged = Sighting(ours=ours, now=now, state=State.UNREACHABLE, **fields)
    return judge(unjudged, None if raw is None else Answer(200, kind, raw))


def varied(**changes: Any) -> bytes:
    return record(**{"sequence": SEQUENCE, "validity": UNTIL, **changes})


@pytest.mark.parametrize(
    ("raw", "kind", "state"),
    [
        (OURS, RECORD_TYPE, State.OURS),
        (OURS, "application/octet-stream", State.UNTYPED),
        (varied(sequence=SEQUENCE - 1), RECORD_TYPE, State.OLDER),
        (varied(validity=UNTIL - timedelta(seconds=1)), RECORD_TYPE, State.OLDER),
        (varied(sequence=SEQUENCE + 1), RECORD_TYPE, State.NEWER),
        (varied(ttl_seconds=7), RECORD_TYPE, State.OTHER),
        (varied(validity=LATER), RECORD_TYPE, State.EXPIRED),
        (None, RECORD_TYPE, State.ABSENT),
        (b"delegate error", "text/plain", State.ABSENT),
        (b"<html>", "text/html", State.INVALID),
        (record(OTHER_KEY, sequence=SEQUENCE, validity=UNTIL), RECORD_TYPE, State.INVALID),
        (OURS[:-1], RECORD_TYPE, State.INVALID),
        (b"", RECORD_TYPE, State.INVALID),
    ],
)
def test_each_answer_has_its_state_and_only_ours_is_good(
    raw: bytes | None, kind: str, state: State
) -> None:
    found = seen(raw, kind)
    assert (found.state, found.good) == (state, state is State.OURS)
    assert found.line().startswith("ok  " if found.good else "BAD ")
    assert found.line().count("\n") == 0


def test_a_valid_record_has_its_age_and_the_time_that_is_left() -> None:
    line = seen(OURS).line()
    assert f"sequence {SEQUENCE}, signed 3 h 20 min ago, valid for 44 h 40 min" in line


def test_an_expired_record_has_the_time_since_then() -> None:
    found = seen(OURS, now=UNTIL + timedelta(days=5))
    assert found.state is State.EXPIRED
    assert "expired 5 d 0 h ago" in found.line()


@pytest.mark.parametrize("sequence", [0, 7, SEQUENCE + 10**6, 2**63 - 1])
def test_a_sequence_that_is_no_unix_time_has_no_age(sequence: int) -> None:
    found = seen(varied(sequence=sequence))
    assert found.age is None
    assert "ago" not in found.line()


def test_a_program_reads_the_same_facts() -> None:
    assert json.loads(seen(OURS).as_json()) == {
        "name": str(NAME),
        "kind": "router",
        "place": "https://r.example",
        "state": "ours",
        "good": True,
        "sequence": SEQUENCE,
        "age_seconds": 12000,
        "validity": "2025-11-22T00:00:00Z",
        "left_seconds": 160800,
        "reason": "",
        "answered": "",
    }


def test_the_answer_to_the_put_is_told_only_where_the_record_did_not_arrive() -> None:
    answered = "it answered HTTP 503"
    assert answered in seen(varied(sequence=1), answered=answered).line()
    assert answered not in seen(OURS, answered=answered).line()


def test_control_characters_of_a_server_never_reach_the_terminal() -> None:
    line = seen(b"", "text/\x1b[2Jhtml" + "x" * 500).line()
    assert "\x1b" not in line
    assert len(line) < 300
