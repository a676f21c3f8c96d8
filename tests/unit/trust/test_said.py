"""Each refusal says what was found and what was wanted, each in its place."""

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
    STRANGER,
    document,
    encoded,
    signature,
    signed,
)
from phase_boot.trust.record import read_record, sign_record
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import BootRequirements, verify
from tests.support.dht_records import MANIFEST, body
from tests.support.dht_records import signed as signed_record
from tests.support.manifests import SECOND, TRUST

THREE: Final = Trust(frozenset({PUBLISHER.keyid, SECOND.keyid, STRANGER.keyid}), 3)
HOUR: Final = timedelta(hours=1)


def judge(
    raw: bytes, trust: Trust = TRUST, *, now: datetime = NOW, seen: str | None = None
) -> None:
    known = None if seen is None else Version.parse(seen)
    requirements = BootRequirements(Arch.AMD64, "stable", Version.parse("2025.10"), known)
    verify(raw, trust=trust, requirements=requirements, now=now)


def judge_record(
    raw: bytes, channel: str = "stable", arch: Arch = Arch.AMD64, now: datetime = NOW
) -> None:
    read_record(raw, keyid=PUBLISHER.keyid, channel=channel, arch=arch, now=now)


def forged(key: str) -> bytes:
    entry = {"keyid": key, "sig": signature(document(), STRANGER)["sig"]}
    other = {"keyid": "nobody", "sig": ""}
    return encoded({**document(), "signatures": [other, entry]})


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: judge(encoded(document())), "Nobody signed the manifest:"),
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
        (
            lambda: judge_record(encoded(body())),
            "The record in the DHT is not signed:",
        ),
        (
            lambda: judge_record(encoded({**body(), "signature": "x"})),
            f"The record in the DHT is not what {PUBLISHER.keyid} signed:",
        ),
        (
            lambda: judge_record(signed_record(body(keyid=SECOND.keyid))),
            f"The record in the DHT has the keyid {SECOND.keyid} and was stored for ed25519:",
        ),
        (
            lambda: judge_record(signed_record(body()), channel="lab"),
            "The record in the DHT has the channel stable and was stored for lab:",
        ),
        (
            lambda: judge_record(signed_record(body()), arch=Arch.ARM64),
            "The record in the DHT has the arch amd64 and was stored for arm64:",
        ),
        (
            lambda: judge_record(signed_record(body()), now=NOW + 25 * HOUR),
            "The record in the DHT expired at 2025-11-21T00:00:00Z and it is 2025-11-21T01:00:00Z:",
        ),
        (
            lambda: judge_record(encoded({**body(), "signature": 7})),
            "The field signature is not usable (not a text)",
        ),
        (
            lambda: judge_record(signed_record(body(channel=7))),
            "The field channel is not usable (not a text)",
        ),
        (
            lambda: judge_record(signed_record(body(manifest_cid="b"))),
            "The field manifest_cid is not usable (",
        ),
        (
            lambda: judge_record(signed_record(body(manifest_cid=str(MANIFEST)[:-1]))),
            "The field manifest_cid is not usable (",
        ),
        (
            lambda: judge_record(
                signed_record(
                    body(manifest_cid="bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
                )
            ),
            "The field manifest_cid is not usable (a manifest is one raw block)",
        ),
        (
            lambda: judge_record(signed_record(body(mirrors=["x"]))),
            "The field mirrors is not usable (it does not start with http:// or",
        ),
        (
            lambda: judge_record(signed_record(body(providers=["/p2p/x"] * 17))),
            "The field providers is not usable (not a list of at most 16)",
        ),
        (
            lambda: judge_record(signed_record(body(seq=-1))),
            "The field seq is not usable (not a whole number from 0 to 9007199254740991)",
        ),
        (
            lambda: judge_record(signed_record(body(expires="x"))),
            "The field expires is not usable (a date is written as",
        ),
    ],
)
def test_a_refusal_says_what_was_found_and_what_was_wanted(
    act: Callable[[], None], said: str
) -> None:
    with pytest.raises(Refusal) as refused:
        act()
    assert str(refused.value).startswith(said)


@pytest.fixture
def kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the machine's clock shown in local time, 5:45 ahead."""
    monkeypatch.setenv("TZ", "NPT-5:45")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("kathmandu")
def test_where_the_machine_stands_changes_no_date() -> None:
    with pytest.raises(Refusal, match=r"expired at 2025-11-19T23:00:00Z and it is 2025-11-20T00:0"):
        judge(signed(document(expires="2025-11-19T23:00:00Z")))
    raw = sign_record(
        PUBLISHER,
        channel="stable",
        arch=Arch.AMD64,
        manifest_cid=MANIFEST,
        mirrors=(),
        providers=(),
        seq=1,
        expires=NOW + HOUR,
    )
    assert b'"expires":"2025-11-20T01:00:00Z"' in raw


def test_the_edges_of_what_is_taken() -> None:
    judge(signed(document(expires="2025-11-20T00:00:00.000001Z")))
    judge(signed(document(issued="2025-11-21T00:00:00Z")))
    judge(signed(document(version="2025.10")), seen="2025.10")
    judge_record(signed_record(body(mirrors=["http://m"] * 16, providers=["/p2p/x"] * 16)))
    judge_record(signed_record(body()), now=NOW + 24 * HOUR - timedelta(microseconds=1))
