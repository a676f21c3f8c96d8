"""Whole boots with fakes: their end, and what they started and stored."""

from __future__ import annotations

import json

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.fakes import FakeCache, FakePlatform, policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_manifest import (
    INITRAMFS,
    KERNEL,
    ROOTFS,
    UNTRUSTED_KEY,
    document,
    signed,
)
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.boot import BootContext, Failure
from phase_boot.machine.graph import State
from phase_boot.ports.loader import StagingSupport
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.store.disk import Folder

GOOD_WAY = (
    State.INIT,
    State.NET_UP,
    State.DISCOVER,
    State.VERIFY,
    State.FETCH,
    State.KEXEC,
    State.TARGET,
)
MANIFEST = "stable/amd64/manifest.json"


def flipped(path: str, data: bytes) -> bytes:
    """Change one bit of the kernel and nothing else."""
    if path == f"cas/sha256/{Digest.of(KERNEL).hex}":
        return bytes([data[0] ^ 1]) + data[1:]
    return data


def entries(disk: MemoryDisk) -> set[str]:
    return {item.name for item in disk.items(Folder.ENTRIES)}


def assert_booted(scenario: Scenario) -> None:
    assert scenario.kexec.jumped
    assert scenario.kexec.kernel == KERNEL
    assert scenario.kexec.initrd is not None
    assert scenario.kexec.initrd.startswith(INITRAMFS)
    assert scenario.walk.end is State.TARGET
    assert scenario.cache.released


def assert_refused(scenario: Scenario, sentence: str) -> None:
    assert not scenario.kexec.jumped
    assert scenario.kexec.kernel is None
    assert sentence in scenario.cause
    assert scenario.walk.states[-2:] == (State.SHELL, State.OFF)


def test_a_signed_image_on_the_lan_is_booted() -> None:
    scenario = lan_scenario(peer=good_server())
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert scenario.walk.states == GOOD_WAY
    assert scenario.kexec.cmdline == (
        f"phase.mode=internet phase.version=2025.11.12 phase.rootfs={Digest.of(ROOTFS)} quiet"
    )
    assert entries(scenario.cache.cache or MemoryDisk()) == {
        Digest.of(data).hex for data in (KERNEL, INITRAMFS, ROOTFS)
    }


def test_the_journal_is_flushed_before_the_jump() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.run()
    jump = next(n for n, e in enumerate(scenario.events, 1) if e["event"] == "kexec.jump")
    assert jump in scenario.journal.flushes


def test_the_hand_over_has_the_verified_manifest_and_the_journal() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.run()
    assert scenario.kexec.initrd is not None
    start = scenario.kexec.initrd.index(b'{\n "schema"')
    handoff = json.JSONDecoder().raw_decode(scenario.kexec.initrd[start:].decode())[0]
    assert handoff["version"] == "2025.11.12"
    assert handoff["network"] == {
        "interface": "eth0",
        "addresses": ["10.0.0.2/24"],
        "gateways": ["10.0.0.1"],
        "dns": ["10.0.0.1"],
        "vlan": "",
        "proxy": "",
    }
    assert set(handoff["sources"]) == {"kernel", "initramfs", "rootfs"}
    assert json.loads(handoff["journal"][0])["event"] == "state.entered"
    assert handoff["manifest"].encode() == scenario.fetcher.servers["http://peer"].files[MANIFEST]


def test_a_second_boot_takes_everything_from_the_store() -> None:
    first, again = lan_scenario(peer=good_server()), lan_scenario(peer=good_server())
    first.run()
    again.cache = FakeCache(cache=first.cache.cache)
    assert again.run() is State.TARGET
    assert {event["source"] for event in again.of("fetch.done")} == {"store"}
    assert again.fetcher.servers["http://peer"].requests.total() == 1


def test_a_corrupt_stored_kernel_is_set_aside_and_fetched_again() -> None:
    first = lan_scenario(peer=good_server())
    first.run()
    disk = first.cache.cache
    assert disk is not None
    disk.add_file(Folder.ENTRIES, Digest.of(KERNEL).hex, bytes(len(KERNEL)))
    again = lan_scenario(peer=good_server())
    again.cache = FakeCache(cache=disk)
    assert again.run() is State.TARGET
    assert_booted(again)
    assert [event["artifact"] for event in again.of("store.corrupt")] == ["kernel"]


def test_a_tampered_kernel_is_never_booted_and_never_stored() -> None:
    server = good_server()
    server.tamper = flipped
    scenario = lan_scenario(peer=server)
    assert scenario.run() is State.OFF
    assert_refused(scenario, "kernel is not what was signed")
    assert Digest.of(KERNEL).hex not in entries(scenario.cache.cache or MemoryDisk())
    assert server.requests[f"cas/sha256/{Digest.of(KERNEL).hex}"] == 1


def test_of_two_providers_one_with_wrong_bytes_costs_only_time() -> None:
    liar = good_server()
    liar.tamper = flipped
    scenario = lan_scenario(liar=liar, honest=good_server())
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert [event["source"] for event in scenario.of("source.failed")] == ["http://liar"]
    assert dict(scenario.boot.sources if scenario.boot else ())["kernel"] == "http://honest"


def test_an_honest_source_is_not_banned_for_the_bytes_of_a_false_one() -> None:
    half = len(ROOTFS) // 2
    liar = good_server()
    liar.files = {
        path: bytes(half) if data == ROOTFS else data for path, data in liar.files.items()
    }
    scenario = lan_scenario(liar=liar, honest=good_server())
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    sources = dict(scenario.boot.sources if scenario.boot else ())
    assert sources["rootfs"] == "http://honest"


def test_a_download_that_breaks_off_is_resumed_where_it_broke() -> None:
    server = good_server()
    server.vanish_after = 3000
    scenario = lan_scenario(peer=server)
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    rootfs = [offset for url, offset in scenario.fetcher.offsets if Digest.of(ROOTFS).hex in url]
    assert rootfs == [0, 3000]


def test_a_provider_that_answers_500_every_second_time_still_delivers() -> None:
    server = good_server()
    server.busy_every = 2
    scenario = lan_scenario(peer=server)
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert all(event["retryable"] for event in scenario.of("source.failed"))


def test_a_hanging_provider_is_replaced_by_one_that_answers() -> None:
    hanging = good_server()
    hanging.hangs = True
    scenario = lan_scenario(hanging=hanging, honest=good_server())
    assert scenario.run() is State.TARGET
    assert scenario.of("manifest.verified")[0]["url"].startswith("http://honest/")
    assert scenario.of("candidate.deferred") == []


def test_a_provider_that_hangs_alone_is_asked_again_later() -> None:
    hanging = good_server()
    hanging.hangs = True
    scenario = lan_scenario(hanging=hanging)
    scenario.run()
    reasons = [event["reason"] for event in scenario.of("candidate.deferred")]
    assert reasons[0] == "it stopped answering"


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        (b"garbage", "document.not-json"),
        (b"{" * 10_000_000, "unreachable"),
        (signed(document(), UNTRUSTED_KEY), "signature.untrusted"),
        (signed(document(expires="2025-11-13T00:00:00Z")), "manifest.expired"),
        (signed(document(arch="arm64")), "manifest.wrong-architecture"),
        (signed(document(version="2024.1")), "manifest.too-old"),
    ],
    ids=["garbage", "ten-megabytes", "stranger", "expired", "other-arch", "old"],
)
def test_a_bad_manifest_is_refused_by_name_and_the_next_one_is_booted(
    manifest: bytes, code: str
) -> None:
    bad = FakeServer({MANIFEST: manifest}, piece_seconds=0.0)
    scenario = lan_scenario(bad=bad, good=good_server())
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert [event["code"] for event in scenario.of("candidate.refused")] == [code]


def test_an_expired_manifest_alone_ends_in_the_shell_and_nothing_is_fetched() -> None:
    scenario = lan_scenario(old=good_server(expires="2025-11-13T00:00:00Z"))
    assert scenario.run() is State.OFF
    assert_refused(scenario, "expired")
    assert not scenario.of("fetch.started")


def test_a_full_cache_boots_from_memory_with_the_rootfs_appended() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.cache = FakeCache(cache=MemoryDisk(capacity=100))
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert scenario.kexec.initrd is not None
    assert ROOTFS in scenario.kexec.initrd
    assert [event["persistent"] for event in scenario.of("store.opened")] == [True, False]


def test_a_read_only_cache_boots_from_memory() -> None:
    scenario = lan_scenario(peer=good_server())
    disk = MemoryDisk()
    disk.read_only = True
    scenario.cache = FakeCache(cache=disk)
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert "read-only" in scenario.of("store.opened")[-1]["note"]


def test_private_mode_never_opens_the_cache() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.platform.table = policy_table(cache_enabled=False)
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert not entries(scenario.cache.cache or MemoryDisk())


def test_too_little_memory_is_reported_before_the_download() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.platform.memory = 20
    assert scenario.run() is State.OFF
    assert_refused(scenario, "MiB of memory")
    assert not scenario.of("fetch.started")


def test_an_unknown_policy_key_ends_in_the_shell_and_is_named() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.platform.table = policy_table(trust_all=True)
    assert scenario.run() is State.OFF
    assert_refused(scenario, "trust_all")


def test_an_empty_list_of_keys_verifies_nothing() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.platform.table = policy_table(trust={"keys": [], "threshold": 1})
    assert scenario.run() is State.OFF
    assert_refused(scenario, "at least one key")


def test_no_network_ends_in_the_shell() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.network.up = False
    assert scenario.run() is State.OFF
    assert_refused(scenario, "no link got an address")


def test_mdns_that_cannot_be_used_leaves_the_url() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.finder_broken = True
    scenario.platform.url = scenario.fetcher.manifest_url("peer")
    assert scenario.run() is State.TARGET
    assert scenario.of("candidate.found")[0]["finder"] == "url"


def test_the_lan_is_searched_before_the_url_of_the_policy() -> None:
    scenario = lan_scenario(
        "http://near/stable/amd64/manifest.json", near=good_server(), far=good_server()
    )
    scenario.platform.table["discovery"]["urls"] = [scenario.fetcher.manifest_url("far")]
    assert scenario.run() is State.TARGET
    assert [event["finder"] for event in scenario.of("candidate.found")] == ["lan"]


def test_a_url_that_was_typed_is_tried_first_after_a_failure() -> None:
    scenario = lan_scenario(
        "http://gone/stable/amd64/manifest.json", gone=FakeServer({}), typed=good_server()
    )
    scenario.operator.answers = [Answer(MenuAction.URL, scenario.fetcher.manifest_url("typed"))]
    assert scenario.run() is State.TARGET
    assert_booted(scenario)
    assert scenario.walk.states.count(State.SHELL) == 1
    assert scenario.of("candidate.found")[-1]["finder"] == "url"


def test_a_kernel_that_kexec_and_chainload_refuse_ends_in_the_shell() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refuse("the running kernel forbids it (EPERM)")
    scenario.loader.support = StagingSupport(obstacle="the stick is write-protected")
    assert scenario.run() is State.OFF
    assert_refused(scenario, "the running kernel forbids it (EPERM)")
    assert_refused(scenario, "the stick is write-protected")
    assert scenario.walk.states[-4:] == (State.KEXEC, State.CHAINLOAD, State.SHELL, State.OFF)


def test_endless_bad_candidates_end_in_the_shell() -> None:
    urls = [f"http://bad/{n}/stable/amd64/manifest.json" for n in range(100)]
    scenario = lan_scenario(*urls, bad=FakeServer({}))
    assert scenario.run() is State.OFF
    assert_refused(scenario, "none of the 4 found can be booted")


def test_a_reboot_is_asked_for_only_by_a_person() -> None:
    scenario = lan_scenario(bad=FakeServer({}))
    scenario.operator.answers = [Answer(MenuAction.RETRY), Answer(MenuAction.REBOOT)]
    assert scenario.run() is State.OFF
    assert scenario.operator.performed == [MenuAction.REBOOT]
    assert scenario.walk.states.count(State.INIT) == 2


def test_after_a_failed_jump_a_retry_opens_the_store_again() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.jump_refusals = ["the jump into the new kernel failed"]
    scenario.loader.support = StagingSupport(obstacle="the stick is write-protected")
    scenario.operator.answers = [Answer(MenuAction.RETRY)]
    assert scenario.run() is State.TARGET
    assert scenario.kexec.jumped
    assert len(scenario.of("store.opened")) == 2
    assert scenario.cache.released >= 2


def test_memory_that_ran_out_before_the_load_leaves_no_artifact_open() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.platform = _Shrinking()
    assert scenario.run() is State.OFF
    assert_refused(scenario, "MiB of memory")
    assert scenario.boot is not None
    assert scenario.boot.images is not None
    with pytest.raises(ValueError, match="closed"):
        scenario.boot.images.kernel.fileno()


class _Shrinking(FakePlatform):
    """Has memory when it is asked before the download, and none after it."""

    def memory_available(self) -> int:
        free, self.memory = self.memory, 0
        return free


def test_after_two_failures_of_the_daemon_a_person_is_asked_before_anything_is_tried() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.operator.answers = [Answer(MenuAction.RETRY)]
    scenario.start = BootContext(
        failure=Failure(name="Failed", sentence="Phase Boot itself failed twice")
    )
    assert scenario.run() is State.TARGET
    assert scenario.operator.reports[0].cause == "Phase Boot itself failed twice"
    assert scenario.walk.states[:3] == (State.INIT, State.SHELL, State.INIT)
    assert not scenario.operator.reports[1:]
