"""Attacks by a writer of the stick: changes of the stored trust state are detected."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.adapters.storage import posix_state_files
from phase_boot.adapters.storage.posix_state_files import PosixStateFiles
from phase_boot.content.arch import Arch
from phase_boot.content.version import Version
from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.fakes import FakeCache, policy_table
from phase_boot.drill.sample_manifest import NOW, PUBLISHER, UNTRUSTED_KEY, document, signed
from phase_boot.drill.sample_root import (
    NEW_PUBLISHER,
    ROOT_1,
    ROOT_2,
    channel,
    root_document,
    signed_root,
)
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State
from phase_boot.machine.trust_state import STATE, keep_root, keep_seen
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.store.disk import Folder
from phase_boot.store.errors import Busy, DiskFailed, StoreError
from phase_boot.trust.chain import Chain
from phase_boot.trust.rollback import (
    MAX_SEEN,
    MAX_STATE_BYTES,
    RollbackState,
    read_state,
    write_state,
)
from phase_boot.trust.strict_json import MAX_BYTES
from phase_boot.trust.verify import authenticate
from tests.support.manifests import TRUST
from tests.support.roots import first_root

HIGH = "2025.11.12"
LOW = "2025.11.01"
CHAIN = Chain(first_root())


def seen_of(*versions: str, chain: Chain = CHAIN, **changes: Any) -> RollbackState:
    seen = RollbackState()
    for version in versions:
        raw = signed(document(version=version, **changes), PUBLISHER)
        seen = seen.including(authenticate(raw, chain.trust("stable", NOW)))
    return seen


def floor(seen: RollbackState) -> Version | None:
    return seen.floor("stable", Arch.AMD64)


def stick_that_booted(version: str = HIGH) -> FakeCache:
    """Return the Cache of a stick that has booted ``version`` once."""
    scenario = rooted(lan_scenario(peer=good_server(version=version)))
    assert scenario.run() is State.TARGET
    return scenario.cache


def rooted(scenario: Scenario, root: bytes = ROOT_1) -> Scenario:
    scenario.platform.trusting(root)
    return scenario


def offered(version: str, cache: FakeCache, **changes: Any) -> Scenario:
    """Return a boot on that stick with a mirror of ``version``."""
    scenario = rooted(lan_scenario(peer=good_server(version=version, **changes)))
    scenario.cache = cache
    return scenario


def assert_doubted(scenario: Scenario, code: str) -> None:
    assert code in {event["code"] for event in scenario.of("state.doubted")}


def test_rollback_of_a_manifest_that_was_seen_higher() -> None:
    scenario = offered(LOW, stick_that_booted())
    assert scenario.run() is State.OFF
    (refused,) = scenario.of("candidate.refused")
    assert refused["code"] == "manifest.rollback"
    assert HIGH in refused["reason"]
    assert not scenario.kexec.jumped
    assert scenario.of("fetch.started") == []


def test_the_version_that_was_seen_is_booted_again() -> None:
    scenario = offered(HIGH, stick_that_booted())
    assert scenario.run() is State.TARGET
    (recalled,) = scenario.of("trust.recalled")
    assert (recalled["root"], recalled["seen"], recalled["kept"]) == (1, HIGH, True)


def test_expired_manifest_still_counts_against_rollback() -> None:
    """An old release that is valid for longer does not become current when the newer one ends."""
    expired = {"expires": "2025-11-19T00:00:00Z"}
    scenario = rooted(
        lan_scenario(first=good_server(version="2025.12", **expired), second=good_server())
    )
    assert scenario.run() is State.OFF
    assert [e["code"] for e in scenario.of("candidate.refused")] == [
        "manifest.expired",
        "manifest.rollback",
    ]
    again = offered(HIGH, scenario.cache)
    assert again.run() is State.OFF
    assert not again.kexec.jumped


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda _: None, "state.missing"),
        (lambda raw: raw[: len(raw) // 2], "state.unreadable"),
        (lambda _: b"", "state.unreadable"),
        (lambda _: b"\0" * 4096, "state.unreadable"),
        (lambda raw: raw + b" " * MAX_STATE_BYTES, "state.unreadable"),
        (
            lambda raw: raw.replace(b"phase-boot-state-v1", b"phase-boot-state-v9"),
            "state.unreadable",
        ),
        (lambda raw: raw.replace(b'"2025.11.12"', b'"2099.11.12"'), "state.tampered"),
        (lambda raw: raw.replace(b'"2025.11.12"', b'"2025.11.02"'), "state.tampered"),
        (lambda raw: raw.replace(b'"stable"', b'"steble"'), "state.tampered"),
        (lambda raw: raw.replace(b'"channel":"stable"', b'"channel":7'), "state.tampered"),
        (lambda _: foreign_state(), "state.foreign"),
    ],
    ids=[
        "deleted",
        "torn",
        "emptied",
        "zeroed",
        "endless",
        "another format",
        "raised",
        "lowered",
        "another channel",
        "no channel",
        "swapped for another stick's",
    ],
)
def test_state_that_was_changed_is_reported_and_lowers_no_compiled_floor(
    damage: Callable[[bytes], bytes | None], code: str
) -> None:
    cache = stick_that_booted()
    damaged = damage(cache.state_files.files.pop(STATE))
    if damaged is not None:
        cache.state_files.files[STATE] = damaged
    below = offered("2025.09.30", cache)
    assert below.run() is State.OFF
    assert_doubted(below, code)
    assert [e["code"] for e in below.of("candidate.refused")] == ["manifest.too-old"]
    assert not below.kexec.jumped
    # What is left is a stick that boots, and that remembers again.
    assert offered(HIGH, cache).run() is State.TARGET
    after = offered(LOW, cache)
    assert after.run() is State.OFF
    assert after.of("state.doubted") == []
    assert after.of("candidate.refused")[0]["code"] == "manifest.rollback"


def foreign_state() -> bytes:
    """Return the state of a stick that trusts another key."""
    other = Chain(TRUST)
    raw = signed(document(version="2099.1", channel="other"), UNTRUSTED_KEY)
    return write_state(
        RollbackState((authenticate(raw, type(TRUST)(frozenset({UNTRUSTED_KEY.keyid}), 1)),)), other
    )


def test_floor_cannot_be_raised_without_a_publisher() -> None:
    """Otherwise a writer of the stick could make it unbootable."""
    cache = stick_that_booted()
    state = json.loads(cache.state_files.files[STATE])
    forged = json.loads(signed(document(version="2099.1"), UNTRUSTED_KEY))
    state["seen"] = [forged]
    cache.state_files.files[STATE] = json.dumps(state).encode()
    scenario = offered(HIGH, cache)
    assert scenario.run() is State.TARGET
    assert_doubted(scenario, "state.tampered")


def test_older_state_of_the_same_stick_keeps_the_older_floor() -> None:
    """A restored older state is not detected; its floor is the older one."""
    cache = stick_that_booted(LOW)
    older = cache.state_files.files[STATE]
    assert offered(HIGH, cache).run() is State.TARGET
    cache.state_files.files[STATE] = older
    scenario = offered("2025.10.15", cache)
    assert scenario.run() is State.OFF
    assert scenario.of("trust.recalled")[0]["seen"] == LOW
    assert scenario.of("candidate.refused")[0]["code"] == "manifest.rollback"


def test_fast_forward_by_a_stolen_key_and_recovery_by_rotation() -> None:
    cache = stick_that_booted()
    forward = offered("9999.1", cache)
    assert forward.run() is State.TARGET
    locked_out = offered("2025.11.13", cache)
    assert locked_out.run() is State.OFF
    server = good_server()
    server.files["stable/amd64/manifest.json"] = signed(
        document(version="2025.11.13", mirrors=[]), NEW_PUBLISHER
    )
    server.files["root/2.json"] = ROOT_2
    recovered = rooted(lan_scenario(peer=server))
    recovered.cache = cache
    assert recovered.run() is State.TARGET
    assert recovered.of("state.doubted") == []
    # From now on the stolen key is worth nothing on this stick, root or no root in sight.
    stolen = offered("9999.2", cache)
    assert stolen.run() is State.OFF
    assert stolen.of("trust.recalled")[0]["root"] == 2
    assert stolen.of("trust.recalled")[0]["seen"] == "2025.11.13"
    assert stolen.of("candidate.refused")[0]["code"] == "signature.untrusted"


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-40],
        lambda raw: raw.replace(b'"threshold": 1', b'"threshold": 2'),
        lambda _: ROOT_1,
        lambda _: signed_root(
            root_document(2, channels={"stable": channel(UNTRUSTED_KEY)}), UNTRUSTED_KEY
        ),
        lambda raw: raw + b" " * MAX_BYTES,
    ],
    ids=["torn", "flipped", "rolled back", "forged", "endless"],
)
def test_kept_root_that_was_changed_is_reported_and_fetched_again(
    damage: Callable[[bytes], bytes],
) -> None:
    server = good_server()
    server.files["stable/amd64/manifest.json"] = signed(document(mirrors=[]), NEW_PUBLISHER)
    server.files["root/2.json"] = ROOT_2
    first = rooted(lan_scenario(peer=server))
    assert first.run() is State.TARGET
    first.cache.state_files.files["root.2.json"] = damage(ROOT_2)
    again = rooted(lan_scenario(peer=server))
    again.cache = first.cache
    assert again.run() is State.TARGET
    assert_doubted(again, "state.bad-root")
    assert again.of("trust.recalled")[0]["root"] == 1
    assert again.cache.state_files.files["root.2.json"] == ROOT_2


def test_private_mode_stores_no_state_and_reports_it() -> None:
    scenario = rooted(lan_scenario(peer=good_server()))
    scenario.platform.table |= policy_table(mode="internet", cache_enabled=False)
    scenario.platform.trusting(ROOT_1)
    assert scenario.run() is State.TARGET
    assert scenario.of("trust.recalled")[0]["kept"] is False
    assert scenario.cache.state_files.files == {}
    assert scenario.cache.cache is not None
    assert scenario.cache.cache.items(Folder.ENTRIES) == ()


def test_disk_that_refuses_the_state_stops_no_boot() -> None:
    scenario = rooted(lan_scenario(peer=good_server()))
    scenario.cache.state_files.refusal = DiskFailed(
        "Could not write state.json: Input/output error."
    )
    assert scenario.run() is State.TARGET
    assert "Input/output error" in scenario.of("state.not_kept")[0]["reason"]


def test_the_trust_state_survives_a_retry_without_a_disk() -> None:
    """Roots and floors learnt in one attempt hold in the next, even if nothing can be written."""
    newer = good_server(version="2025.12", expires="2025-11-19T00:00:00Z")
    newer.files["root/2.json"] = signed_root(root_document(2))
    scenario = rooted(lan_scenario(first=newer, second=good_server()))
    scenario.cache.state_files.refusal = DiskFailed(
        "Could not read state.json: Input/output error."
    )
    scenario.operator.answers.append(Answer(MenuAction.RETRY))
    assert scenario.run() is State.OFF
    assert [e["code"] for e in scenario.of("candidate.refused")] == [
        "manifest.expired",
        "manifest.rollback",
    ] * 2
    assert [e["root"] for e in scenario.of("trust.recalled")] == [1, 2]


@given(st.data())
def test_no_state_raises_an_unsigned_floor(data: st.DataObject) -> None:
    good = write_state(seen_of(HIGH), CHAIN)
    at = data.draw(st.integers(0, len(good)))
    raw = good[:at] + data.draw(st.binary(max_size=8)) + good[at + data.draw(st.integers(0, 8)) :]
    seen, doubts = read_state(raw, CHAIN)
    assert floor(seen) in {None, Version.parse(HIGH)}
    if floor(seen) is None:
        assert doubts or json.loads(raw)["seen"] == []


def test_state_never_outgrows_its_bound() -> None:
    seen = RollbackState()
    trust = CHAIN.trust("stable", NOW)
    padding = {f"x{n}": "y" * 4000 for n in range(15)}
    for number in range(20):
        body = document(
            channel=f"c{number}", issued=f"2025-11-{number + 1:02}T00:00:00Z", **padding
        )
        seen = seen.including(authenticate(signed(body), trust))
    assert len(seen.manifests) == MAX_SEEN
    assert len(write_state(seen, CHAIN)) <= MAX_STATE_BYTES
    assert seen.floor("c19", Arch.AMD64) is not None
    assert seen.floor("c0", Arch.AMD64) is None


# ---- the state files on a real filesystem -------------------------------------------------------


@pytest.fixture
def state_files(tmp_path: Path) -> PosixStateFiles:
    return PosixStateFiles(tmp_path / "trust")


def test_crash_between_draft_and_name_leaves_the_old_page(
    state_files: PosixStateFiles, tmp_path: Path
) -> None:
    state_files.write(STATE, b"old")
    (tmp_path / "trust" / f"{STATE}.new").write_bytes(b"ha")
    assert state_files.read(STATE, limit=99) == b"old"
    state_files.write(STATE, b"new")
    assert state_files.read(STATE, limit=99) == b"new"
    assert sorted(p.name for p in (tmp_path / "trust").iterdir()) == [STATE]


def test_symlink_as_state_is_not_followed(state_files: PosixStateFiles, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / STATE).symlink_to(secret)
    (tmp_path / "trust" / f"{STATE}.new").symlink_to(secret)
    with pytest.raises(StoreError):
        state_files.read(STATE, limit=99)
    state_files.write(STATE, b"new")
    assert secret.read_bytes() == b"secret"
    assert not (tmp_path / "trust" / STATE).is_symlink()


def test_symlink_as_the_folder_of_the_state_is_not_followed(
    state_files: PosixStateFiles, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "trust").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "root.2.json").write_bytes(b"added")
    with pytest.raises(StoreError):
        state_files.read("root.2.json", limit=99)
    with pytest.raises(StoreError):
        state_files.write(STATE, b"new")
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["root.2.json"]


def test_pipe_and_folder_as_state_do_not_hang(state_files: PosixStateFiles, tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    os.mkfifo(tmp_path / "trust" / STATE)
    with pytest.raises(StoreError):
        state_files.read(STATE, limit=99)
    state_files.write(STATE, b"new")
    assert state_files.read(STATE, limit=99) == b"new"
    (tmp_path / "trust" / "root.2.json").mkdir()
    with pytest.raises(StoreError):
        state_files.read("root.2.json", limit=99)
    with pytest.raises(StoreError):
        state_files.write("root.2.json", b"new")


def test_page_is_read_up_to_its_limit_and_one_byte(state_files: PosixStateFiles) -> None:
    state_files.write(STATE, bytes(100))
    assert state_files.read(STATE, limit=9) == bytes(10)
    assert state_files.read("root.2.json", limit=9) is None


def test_two_processes_at_once_keep_the_higher_version(state_files: PosixStateFiles) -> None:
    keep_seen(state_files, seen_of(HIGH), CHAIN)
    # The other process read the state before, so it knows nothing of the higher version.
    keep_seen(state_files, seen_of("2025.11.1"), CHAIN)
    raw = state_files.read(STATE, limit=MAX_STATE_BYTES)
    assert raw is not None
    assert floor(read_state(raw, CHAIN)[0]) == Version.parse(HIGH)


def test_a_process_waits_for_another_one_that_writes_the_state(
    state_files: PosixStateFiles, tmp_path: Path
) -> None:
    inside, written = threading.Event(), threading.Event()

    def write_later() -> None:
        with PosixStateFiles(tmp_path / "trust").exclusive():
            inside.set()
            assert not written.wait(0.2)
            state_files.write("root.2.json", b"first")

    other = threading.Thread(target=write_later)
    other.start()
    inside.wait()
    keep_root(state_files, 2, b"second")
    written.set()
    other.join()
    assert state_files.read("root.2.json", limit=99) == b"second"


def test_a_process_that_never_leaves_its_block_stops_no_other_for_ever(
    state_files: PosixStateFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix_state_files, "WAIT_SECONDS", 0.05)
    with (
        PosixStateFiles(tmp_path / "trust").exclusive(),
        pytest.raises(Busy, match="another process is using it, so wait for that one"),
    ):
        keep_root(state_files, 2, b"root")
    assert state_files.read("root.2.json", limit=99) is None
