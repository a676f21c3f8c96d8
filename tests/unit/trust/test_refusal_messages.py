"""The message of each refusal states the found and the required value."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import (
    NOW,
    PUBLISHER,
    UNTRUSTED_KEY,
    document,
    encoded,
    signature,
    signed,
)
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import BootRequirements, verify
from tests.support.manifests import SECOND, TRUST

THREE: Final = Trust(frozenset({PUBLISHER.keyid, SECOND.keyid, UNTRUSTED_KEY.keyid}), 3)
HOUR: Final = timedelta(hours=1)


def judge(
    raw: bytes, trust: Trust = TRUST, *, now: datetime = NOW, seen: str | None = None
) -> None:
    known = None if seen is None else Version.parse(seen)
    requirements = BootRequirements(Arch.AMD64, "stable", Version.parse("2025.10"), known)
    verify(raw, trust=trust, requirements=requirements, now=now)


def forged(key: str) -> bytes:
    entry = {"keyid": key, "sig": signature(document(), UNTRUSTED_KEY)["sig"]}
    other = {"keyid": "nobody", "sig": ""}
    return encoded({**document(), "signatures": [other, entry]})


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: judge(encoded(document())), "The manifest has no signature:"),
        (lambda: judge(signed(document(), SECOND)), "None of the keys that signed the manifest is"),
        (
            lambda: judge(forged(PUBLISHER.keyid)),
            f"The signature of {PUBLISHER.keyid} does not fit the manifest,",
        ),
        (
            lambda: judge(signed(document(), PUBLISHER, SECOND), THREE),
            "2 trusted key(s) signed the manifest and 3 are needed:",
        ),
        (
            lambda: judge(signed(document(arch="aarch64"))),
            "The manifest is for arm64 and this machine is amd64:",
        ),
        (
            lambda: judge(signed(document(channel="lab"))),
            "The manifest is of channel lab and the policy wants stable:",
        ),
        (
            lambda: judge(signed(document(expires="2025-11-19T23:00:00Z"))),
            "The manifest expired at 2025-11-19T23:00:00Z and it is 2025-11-20T00:00:00Z:",
        ),
        (
            lambda: judge(signed(document(issued="2025-11-21T00:00:01Z"))),
            "The manifest was issued at 2025-11-21T00:00:01Z and the clock says 2025-11-20T00",
        ),
        (
            lambda: judge(signed(document(version="2025.9"))),
            "The manifest has version 2025.9 and the policy wants at least 2025.10:",
        ),
        (
            lambda: judge(signed(document()), seen="2026"),
            "The manifest has version 2025.11.12 and this stick has already seen 2026:",
        ),
    ],
)
def test_a_refusal_states_the_found_and_the_required_value(
    act: Callable[[], None], message: str
) -> None:
    with pytest.raises(Refusal) as refused:
        act()
    assert str(refused.value).startswith(message)


@pytest.fixture
def kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the machine's clock shown in local time, 5:45 ahead."""
    monkeypatch.setenv("TZ", "NPT-5:45")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("kathmandu")
def test_the_time_zone_of_the_machine_changes_no_date() -> None:
    with pytest.raises(Refusal, match=r"expired at 2025-11-19T23:00:00Z and it is 2025-11-20T00:0"):
        judge(signed(document(expires="2025-11-19T23:00:00Z")))


def test_values_at_the_bound_of_each_check_are_accepted() -> None:
    judge(signed(document(expires="2025-11-20T00:00:00.000001Z")))
    judge(signed(document(issued="2025-11-21T00:00:00Z")))
    judge(signed(document(version="2025.10")), seen="2025.10")
