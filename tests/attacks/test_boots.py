"""Attacks on a whole boot by mirrors, other machines of the LAN, and the clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer, good_server
from phase_boot.drill.sample_manifest import (
    INITRAMFS,
    KERNEL,
    NOW,
    ROOTFS,
    UNTRUSTED_KEY,
    document,
    signed,
)
from phase_boot.drill.sample_root import (
    NEW_PUBLISHER,
    ROOT_1,
    ROOT_2,
    channel,
    root_document,
    signed_root,
)
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.drill.virtual_time import VirtualClock
from phase_boot.machine.graph import State
from phase_boot.store.disk import Folder

MANIFEST = "stable/amd64/manifest.json"
KERNEL_PATH = f"cas/sha256/{Digest.of(KERNEL).hex}"
ROOTFS_PATH = f"cas/sha256/{Digest.of(ROOTFS).hex}"
SIGNED = {Digest.of(data).hex for data in (KERNEL, INITRAMFS, ROOTFS)}


def flipped(path: str, data: bytes) -> bytes:
    """Change one bit of the kernel and nothing else."""
    return bytes([data[0] ^ 1]) + data[1:] if path == KERNEL_PATH else data


def entries(scenario: Scenario) -> set[str]:
    assert scenario.cache.cache is not None
    return {item.name for item in scenario.cache.cache.items(Folder.ENTRIES)}


def assert_nothing_ran(scenario: Scenario) -> None:
    assert scenario.run() is State.OFF
    assert scenario.walk.states[-2:] == (State.SHELL, State.OFF)
    assert not scenario.kexec.jumped
    assert scenario.kexec.kernel is None
    assert entries(scenario) <= SIGNED


def assert_the_signed_bytes_ran(scenario: Scenario) -> None:
    assert scenario.run() is State.TARGET
    assert scenario.kexec.jumped
    assert scenario.kexec.kernel == KERNEL
    assert entries(scenario) == SIGNED


def refusals(scenario: Scenario) -> list[str]:
    return [event["code"] for event in scenario.of("candidate.refused")]


def rooted(scenario: Scenario) -> Scenario:
    scenario.platform.trusting(ROOT_1)
    return scenario


# ---- artifacts ----------------------------------------------------------------------------------


def test_tampered_artifact() -> None:
    bad = good_server()
    bad.tamper = flipped
    scenario = lan_scenario(bad=bad)
    assert_nothing_ran(scenario)
    assert Digest.of(KERNEL).hex not in entries(scenario)
    assert "sha256" in scenario.cause


def test_mix_and_match_of_artifacts_of_two_versions() -> None:
    """The kernel of one signed version is no kernel of another, though both were signed."""
    old_kernel = b"older kernel, with a hole"
    old = good_server(
        version="2025.11.01",
        artifacts={
            "kernel": str(Digest.of(old_kernel)),
            "initramfs": str(Digest.of(INITRAMFS)),
            "rootfs": str(Digest.of(ROOTFS)),
        },
        sizes={"kernel": len(old_kernel), "initramfs": len(INITRAMFS), "rootfs": len(ROOTFS)},
    )
    mixed = good_server()
    mixed.files[KERNEL_PATH] = old_kernel
    mixed.files[f"cas/sha256/{Digest.of(old_kernel).hex}"] = old_kernel
    mixed.files["beta/amd64/manifest.json"] = old.files[MANIFEST]
    scenario = lan_scenario(mixed=mixed)
    assert_nothing_ran(scenario)
    assert Digest.of(old_kernel).hex not in entries(scenario)


@pytest.mark.parametrize("data", [KERNEL[:-1], KERNEL + b"!", b""], ids=["short", "long", "empty"])
def test_wrong_size(data: bytes) -> None:
    bad = good_server()
    bad.files[KERNEL_PATH] = data
    scenario = lan_scenario(bad=bad, good=good_server())
    assert_the_signed_bytes_ran(scenario)
    assert {event["source"] for event in scenario.of("source.failed")} == {"http://bad"}


@pytest.mark.parametrize("path", [KERNEL_PATH, MANIFEST, "root/2.json"])
def test_endless_data(path: str) -> None:
    bad = good_server()
    bad.files["root/2.json"] = signed_root(root_document(2))
    bad.endless = path
    bad.piece_seconds = 0.001
    scenario = rooted(lan_scenario(bad=bad, good=good_server()))
    assert_the_signed_bytes_ran(scenario)
    assert bad.requests[path] == 1
    # An endless root counts as none: the old root and its manifest remain valid.
    assert len(scenario.of("source.failed")) == (path == KERNEL_PATH)
    assert refusals(scenario) == (["unreachable"] if path == MANIFEST else [])


def test_slow_retrieval_of_an_artifact() -> None:
    """A source that trickles, always just in time, is left for one that does not."""
    slow = good_server()
    slow.piece_seconds = 14
    scenario = lan_scenario(slow=slow)
    # Busy while the sources are compared, so that the slow one is the first to answer.
    busy = scenario.fetcher.servers["http://mirror.example"] = good_server()
    busy.busy_until = 80.0
    slow.files[MANIFEST] = signed(document(mirrors=["http://mirror.example"]))
    assert_the_signed_bytes_ran(scenario)
    failed = scenario.of("source.failed")[0]
    assert (failed["source"], failed["artifact"]) == ("http://slow", "rootfs")
    assert "KiB a second" in failed["reason"]
    # What the slow one sent was not thrown away.
    assert ("http://mirror.example/" + ROOTFS_PATH, 3000) in scenario.fetcher.offsets


@pytest.mark.parametrize("path", [MANIFEST, "root/2.json"])
def test_slow_retrieval_of_a_document(path: str) -> None:
    slow = FakeServer({path: b" " * 60_000}, piece_seconds=9)
    scenario = rooted(lan_scenario(slow=slow, good=good_server()))
    assert_the_signed_bytes_ran(scenario)
    assert slow.requests[path] == 1
    alone = rooted(lan_scenario(slow=slow))
    assert_nothing_ran(alone)
    assert refusals(alone)[0] == "unreachable"


# ---- choice of sources --------------------------------------------------------------------------


def test_bad_candidate_never_blocks_a_good_one() -> None:
    bad: Mapping[str, bytes] = {
        "garbage": b"<html>",
        "stranger": signed(document(), UNTRUSTED_KEY),
        "expired": signed(document(expires="2025-11-19T00:00:00Z", version="2025.11.11")),
        "other": signed(document(arch="arm64")),
    }
    servers = {name: FakeServer({MANIFEST: raw}) for name, raw in bad.items()}
    scenario = lan_scenario(**servers, good=good_server())
    scenario.platform.table["discovery"]["candidates"] = 9
    assert_the_signed_bytes_ran(scenario)
    assert refusals(scenario) == [
        "document.not-json",
        "signature.untrusted",
        "manifest.expired",
        "manifest.wrong-architecture",
    ]


def test_host_that_announces_itself_a_hundred_times_blocks_no_other() -> None:
    fetcher = FakeFetcher(good=good_server())
    urls = []
    for port in range(1, 101):
        fetcher.servers[f"http://10.0.0.66:{port}"] = FakeServer(
            {MANIFEST: signed(document(), UNTRUSTED_KEY)}
        )
        urls.append(f"http://10.0.0.66:{port}/{MANIFEST}")
    scenario = Scenario(fetcher, lan_urls=[*urls, fetcher.manifest_url("good")])
    assert_the_signed_bytes_ran(scenario)
    assert len(refusals(scenario)) == 1


def test_banned_source_is_not_requested_again_in_this_boot() -> None:
    liar = good_server()
    liar.tamper = flipped
    liar.files["stable/amd64/manifest.json"] = signed(
        document(mirrors=["http://liar", "http://good"])
    )
    scenario = lan_scenario(liar=liar)
    scenario.fetcher.servers["http://good"] = good_server()
    assert_the_signed_bytes_ran(scenario)
    # Once when it was compared with the other source, and once in earnest.
    assert liar.requests == {MANIFEST: 1, KERNEL_PATH: 2}


def test_source_of_a_false_manifest_is_not_requested_under_another_path() -> None:
    liar = FakeServer(
        {
            MANIFEST: signed(document()).replace(b'"quiet"', b'"rd.break"'),
            "second/" + MANIFEST: signed(document()),
        }
    )
    fetcher = FakeFetcher(liar=liar)
    scenario = Scenario(
        fetcher, lan_urls=[fetcher.manifest_url("liar"), f"http://liar/second/{MANIFEST}"]
    )
    assert_nothing_ran(scenario)
    assert refusals(scenario) == ["signature.bad"]
    assert liar.requests == {MANIFEST: 1}


# ---- roots --------------------------------------------------------------------------------------


def test_revoked_publisher_boots_nothing_once_the_new_root_was_seen() -> None:
    """A thief beside an honest mirror: the first word of the new root ends the thief's."""
    thief = good_server(version="2099.1")
    honest = good_server()
    honest.files["root/2.json"] = ROOT_2
    honest.files[MANIFEST] = signed(document(mirrors=[]), NEW_PUBLISHER)
    scenario = rooted(lan_scenario(honest=honest, thief=thief))
    assert_the_signed_bytes_ran(scenario)
    assert scenario.of("manifest.verified")[0]["keys"] == [NEW_PUBLISHER.keyid]
    again = rooted(lan_scenario(thief=good_server(version="2099.1")))
    again.cache = scenario.cache
    assert_nothing_ran(again)
    assert refusals(again) == ["signature.untrusted"]


def test_replay_lets_a_new_publisher_begin_below_the_version_of_a_revoked_one() -> None:
    thief = rooted(lan_scenario(thief=good_server(version="2099.1")))
    assert_the_signed_bytes_ran(thief)
    honest = good_server()
    honest.files["root/2.json"] = ROOT_2
    honest.files[MANIFEST] = signed(document(mirrors=[]), NEW_PUBLISHER)
    scenario = rooted(lan_scenario(honest=honest))
    scenario.cache = thief.cache
    assert_the_signed_bytes_ran(scenario)
    assert scenario.of("trust.recalled")[0]["seen"] == "2099.1"
    assert scenario.of("root.followed")[0]["seen"] is None
    assert scenario.walk.end is State.TARGET


def test_forged_root_beside_a_good_manifest_bans_its_server_and_changes_no_trust() -> None:
    liar = good_server()
    forged = root_document(2, channels={"stable": channel(UNTRUSTED_KEY)})
    liar.files["root/2.json"] = signed_root(forged, UNTRUSTED_KEY)
    scenario = rooted(lan_scenario(liar=liar, good=good_server()))
    assert_the_signed_bytes_ran(scenario)
    assert refusals(scenario) == ["root.not-by-previous"]
    assert scenario.of("root.followed") == []
    assert liar.requests == {"root/2.json": 1}
    assert [name for name in scenario.cache.state_files.files if name.startswith("root")] == []


def test_several_roots_are_followed_in_one_boot_and_kept() -> None:
    server = good_server()
    for version in range(2, 6):
        server.files[f"root/{version}.json"] = signed_root(root_document(version))
    scenario = rooted(lan_scenario(peer=server))
    assert_the_signed_bytes_ran(scenario)
    assert [event["version"] for event in scenario.of("root.followed")] == [2, 3, 4, 5]
    again = rooted(lan_scenario(peer=good_server()))
    again.cache = scenario.cache
    assert_the_signed_bytes_ran(again)
    assert again.of("trust.recalled")[0]["root"] == 5
    assert again.of("root.followed") == []


def test_temporarily_unavailable_root_defers_its_source() -> None:
    """Otherwise an attacker could hide a new root by closing that one connection."""
    broken = good_server()
    broken.busy_every = 1
    scenario = rooted(lan_scenario(broken=broken, good=good_server()))
    assert_the_signed_bytes_ran(scenario)
    assert [event["url"] for event in scenario.of("candidate.deferred")] == [
        scenario.fetcher.manifest_url("broken")
    ]
    assert scenario.of("manifest.verified")[0]["url"] == scenario.fetcher.manifest_url("good")
    assert broken.requests == {"root/2.json": 1}


def test_expired_root_boots_nothing() -> None:
    scenario = lan_scenario(peer=good_server())
    ended = root_document(channels={"stable": channel(expires="2025-11-19T00:00:00Z")})
    scenario.platform.trusting(signed_root(ended))
    assert_nothing_ran(scenario)
    assert refusals(scenario) == ["root.expired"]


# ---- clocks -------------------------------------------------------------------------------------


def test_clock_in_1970() -> None:
    """The seed's build date is the floor: what had expired by then stays expired."""
    scenario = lan_scenario(
        stale=good_server(issued="2025-09-01T00:00:00Z", expires="2025-10-31T00:00:00Z"),
        fresh=good_server(issued="2025-10-30T00:00:00Z"),
    )
    scenario.clock = VirtualClock(datetime(1970, 1, 1, tzinfo=UTC))
    assert_the_signed_bytes_ran(scenario)
    assert refusals(scenario) == ["manifest.expired"]


def test_clock_in_1970_on_a_stick_that_has_booted_since() -> None:
    """The newest manifest ever verified is a later floor than the build date."""
    first = lan_scenario(peer=good_server())
    assert_the_signed_bytes_ran(first)
    again = lan_scenario(
        stale=good_server(
            version="2025.11.13", issued="2025-10-30T00:00:00Z", expires="2025-11-10T00:00:00Z"
        )
    )
    again.cache = first.cache
    again.clock = VirtualClock(datetime(1970, 1, 1, tzinfo=UTC))
    assert_nothing_ran(again)
    assert refusals(again) == ["manifest.expired"]


def test_clock_in_1970_and_a_manifest_from_far_ahead_are_distinguished_from_expiry() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.clock = VirtualClock(datetime(1970, 1, 1, tzinfo=UTC))
    assert_nothing_ran(scenario)
    assert refusals(scenario) == ["clock.doubtful"]


def test_clock_in_2100_boots_nothing_and_leaves_no_trace_in_the_floors() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.clock = VirtualClock(datetime(2100, 1, 1, tzinfo=UTC))
    assert_nothing_ran(scenario)
    assert refusals(scenario) == ["manifest.expired"]
    mended = lan_scenario(peer=good_server())
    mended.cache = scenario.cache
    assert_the_signed_bytes_ran(mended)


class Jumping(VirtualClock):
    """A clock whose year changes with every reading."""

    def __init__(self, *years: int) -> None:
        super().__init__()
        self._years = list(years)

    def wall(self) -> datetime:
        year = self._years.pop(0) if len(self._years) > 1 else self._years[0]
        return NOW.replace(year=year) + timedelta(seconds=self.monotonic())


@pytest.mark.parametrize("years", [(2025, 2100), (2025, 1970), (2025, 2100, 1970)])
def test_clock_that_jumps_during_the_run_changes_nothing(years: tuple[int, ...]) -> None:
    stale = good_server(version="2025.11.11", expires="2025-11-19T00:00:00Z")
    scenario = lan_scenario(stale=stale, peer=good_server())
    scenario.clock = Jumping(*years)
    assert_the_signed_bytes_ran(scenario)
    assert refusals(scenario) == ["manifest.expired"]


def test_signed_manifest_with_a_date_far_ahead_does_not_set_the_clock() -> None:
    """A stolen key cannot make every later manifest look expired."""
    ahead = good_server(issued="2099-01-01T00:00:00Z", expires="2099-02-01T00:00:00Z")
    scenario = lan_scenario(ahead=ahead)
    assert_nothing_ran(scenario)
    assert refusals(scenario) == ["clock.doubtful"]
    assert (
        json.loads(scenario.cache.state_files.files.get("state.json", b'{"seen":[]}'))["seen"] == []
    )
    again = lan_scenario(peer=good_server())
    again.cache = scenario.cache
    assert_the_signed_bytes_ran(again)
