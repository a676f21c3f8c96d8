"""Whole boots in a world of fakes: where they end, and what is left behind."""

from __future__ import annotations

import json

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_mirrors import Site, good_site
from phase_boot.drill.fakes import FakeCache, FakePlatform, policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, STRANGER, document, signed
from phase_boot.drill.scenario import Scenario, scene
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


def assert_booted(play: Scenario) -> None:
    assert play.kexec.jumped
    assert play.kexec.kernel == KERNEL
    assert play.kexec.initrd is not None
    assert play.kexec.initrd.startswith(INITRAMFS)
    assert play.walk.end is State.TARGET
    assert play.cache.released


def assert_refused(play: Scenario, sentence: str) -> None:
    assert not play.kexec.jumped
    assert play.kexec.kernel is None
    assert sentence in play.cause
    assert play.walk.states[-2:] == (State.SHELL, State.OFF)


def test_a_signed_image_on_the_lan_is_booted() -> None:
    play = scene(peer=good_site())
    assert play.play() is State.TARGET
    assert_booted(play)
    assert play.walk.states == GOOD_WAY
    assert play.kexec.cmdline == (
        f"phase.mode=internet phase.version=2025.11.12 phase.rootfs={Digest.of(ROOTFS)} quiet"
    )
    assert entries(play.cache.cache or MemoryDisk()) == {
        Digest.of(data).hex for data in (KERNEL, INITRAMFS, ROOTFS)
    }


def test_the_journal_is_flushed_before_the_jump() -> None:
    play = scene(peer=good_site())
    play.play()
    jump = next(n for n, e in enumerate(play.events, 1) if e["event"] == "kexec.jump")
    assert jump in play.lines.flushes


def test_the_target_is_handed_what_was_verified_and_the_journal_so_far() -> None:
    play = scene(peer=good_site())
    play.play()
    assert play.kexec.initrd is not None
    start = play.kexec.initrd.index(b'{\n "schema"')
    handoff = json.JSONDecoder().raw_decode(play.kexec.initrd[start:].decode())[0]
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
    assert handoff["manifest"].encode() == play.sites.by_base["http://peer"].files[MANIFEST]


def test_a_second_boot_takes_everything_from_the_store() -> None:
    first, again = scene(peer=good_site()), scene(peer=good_site())
    first.play()
    again.cache = FakeCache(cache=first.cache.cache)
    assert again.play() is State.TARGET
    assert {event["source"] for event in again.of("fetch.done")} == {"store"}
    assert again.sites.by_base["http://peer"].asked.total() == 1


def test_a_corrupt_stored_kernel_is_set_aside_and_fetched_again() -> None:
    first = scene(peer=good_site())
    first.play()
    disk = first.cache.cache
    assert disk is not None
    disk.plant(Folder.ENTRIES, Digest.of(KERNEL).hex, bytes(len(KERNEL)))
    again = scene(peer=good_site())
    again.cache = FakeCache(cache=disk)
    assert again.play() is State.TARGET
    assert_booted(again)
    assert [event["artifact"] for event in again.of("store.corrupt")] == ["kernel"]


def test_a_tampered_kernel_is_never_booted_and_never_stored() -> None:
    site = good_site()
    site.twist = flipped
    play = scene(peer=site)
    assert play.play() is State.OFF
    assert_refused(play, "kernel is not what was signed")
    assert Digest.of(KERNEL).hex not in entries(play.cache.cache or MemoryDisk())
    assert site.asked[f"cas/sha256/{Digest.of(KERNEL).hex}"] == 1


def test_of_two_providers_the_one_that_lies_costs_nothing_but_time() -> None:
    liar = good_site()
    liar.twist = flipped
    play = scene(liar=liar, honest=good_site())
    assert play.play() is State.TARGET
    assert_booted(play)
    assert [event["source"] for event in play.of("source.failed")] == ["http://liar"]
    assert dict(play.boot.sources if play.boot else ())["kernel"] == "http://honest"


def test_half_an_artifact_from_a_liar_is_not_blamed_on_the_honest_one() -> None:
    half = len(ROOTFS) // 2
    liar = good_site()
    liar.files = {
        path: bytes(half) if data == ROOTFS else data for path, data in liar.files.items()
    }
    play = scene(liar=liar, honest=good_site())
    assert play.play() is State.TARGET
    assert_booted(play)
    sources = dict(play.boot.sources if play.boot else ())
    assert sources["rootfs"] == "http://honest"


def test_a_download_that_breaks_off_is_resumed_where_it_broke() -> None:
    site = good_site()
    site.vanish_after = 3000
    play = scene(peer=site)
    assert play.play() is State.TARGET
    assert_booted(play)
    rootfs = [offset for url, offset in play.sites.offsets if Digest.of(ROOTFS).hex in url]
    assert rootfs == [0, 3000]


def test_a_provider_that_answers_500_every_second_time_still_delivers() -> None:
    site = good_site()
    site.busy_every = 2
    play = scene(peer=site)
    assert play.play() is State.TARGET
    assert_booted(play)
    assert all(event["retryable"] for event in play.of("source.failed"))


def test_a_provider_that_hangs_is_left_for_one_that_answers() -> None:
    hanging = good_site()
    hanging.hangs = True
    play = scene(hanging=hanging, honest=good_site())
    assert play.play() is State.TARGET
    assert play.of("manifest.verified")[0]["url"].startswith("http://honest/")
    assert play.of("candidate.deferred") == []


def test_a_provider_that_hangs_alone_is_asked_again_later() -> None:
    hanging = good_site()
    hanging.hangs = True
    play = scene(hanging=hanging)
    play.play()
    reasons = [event["reason"] for event in play.of("candidate.deferred")]
    assert reasons[0] == "it stopped answering"


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        (b"garbage", "document.not-json"),
        (b"{" * 10_000_000, "unreachable"),
        (signed(document(), STRANGER), "signature.untrusted"),
        (signed(document(expires="2025-11-13T00:00:00Z")), "manifest.expired"),
        (signed(document(arch="arm64")), "manifest.wrong-architecture"),
        (signed(document(version="2024.1")), "manifest.too-old"),
    ],
    ids=["garbage", "ten-megabytes", "stranger", "expired", "other-arch", "old"],
)
def test_a_bad_manifest_is_refused_by_name_and_the_next_one_is_booted(
    manifest: bytes, code: str
) -> None:
    bad = Site({MANIFEST: manifest}, piece_seconds=0.0)
    play = scene(bad=bad, good=good_site())
    assert play.play() is State.TARGET
    assert_booted(play)
    assert [event["code"] for event in play.of("candidate.refused")] == [code]


def test_an_expired_manifest_alone_ends_in_the_shell_and_nothing_is_fetched() -> None:
    play = scene(old=good_site(expires="2025-11-13T00:00:00Z"))
    assert play.play() is State.OFF
    assert_refused(play, "expired")
    assert not play.of("fetch.started")


def test_a_full_cache_boots_from_memory_with_the_rootfs_appended() -> None:
    play = scene(peer=good_site())
    play.cache = FakeCache(cache=MemoryDisk(capacity=100))
    assert play.play() is State.TARGET
    assert_booted(play)
    assert play.kexec.initrd is not None
    assert ROOTFS in play.kexec.initrd
    assert [event["persistent"] for event in play.of("store.opened")] == [True, False]


def test_a_read_only_cache_boots_from_memory() -> None:
    play = scene(peer=good_site())
    disk = MemoryDisk()
    disk.read_only = True
    play.cache = FakeCache(cache=disk)
    assert play.play() is State.TARGET
    assert_booted(play)
    assert "read-only" in play.of("store.opened")[-1]["note"]


def test_private_mode_never_opens_the_cache() -> None:
    play = scene(peer=good_site())
    play.platform.table = policy_table(cache_enabled=False)
    assert play.play() is State.TARGET
    assert_booted(play)
    assert not entries(play.cache.cache or MemoryDisk())


def test_too_little_memory_is_said_before_anything_is_downloaded() -> None:
    play = scene(peer=good_site())
    play.platform.memory = 20
    assert play.play() is State.OFF
    assert_refused(play, "MiB of memory")
    assert not play.of("fetch.started")


def test_an_unknown_policy_key_ends_in_the_shell_and_is_named() -> None:
    play = scene(peer=good_site())
    play.platform.table = policy_table(trust_all=True)
    assert play.play() is State.OFF
    assert_refused(play, "trust_all")


def test_an_empty_list_of_keys_trusts_nobody() -> None:
    play = scene(peer=good_site())
    play.platform.table = policy_table(trust={"keys": [], "threshold": 1})
    assert play.play() is State.OFF
    assert_refused(play, "at least one key")


def test_no_network_ends_in_the_shell() -> None:
    play = scene(peer=good_site())
    play.network.up = False
    assert play.play() is State.OFF
    assert_refused(play, "no link got an address")


def test_mdns_that_cannot_be_used_leaves_the_url() -> None:
    play = scene(peer=good_site())
    play.finder_broken = True
    play.platform.url = play.sites.manifest_url("peer")
    assert play.play() is State.TARGET
    assert play.of("candidate.found")[0]["origin"] == "url"


def test_the_lan_is_asked_before_the_url_of_the_policy() -> None:
    play = scene("http://near/stable/amd64/manifest.json", near=good_site(), far=good_site())
    play.platform.table["discovery"]["urls"] = [play.sites.manifest_url("far")]
    assert play.play() is State.TARGET
    assert [event["origin"] for event in play.of("candidate.found")] == ["lan"]


def test_a_url_that_was_typed_is_tried_first_after_a_failure() -> None:
    play = scene("http://gone/stable/amd64/manifest.json", gone=Site({}), typed=good_site())
    play.operator.answers = [Answer(MenuAction.URL, play.sites.manifest_url("typed"))]
    assert play.play() is State.TARGET
    assert_booted(play)
    assert play.walk.states.count(State.SHELL) == 1
    assert play.of("candidate.found")[-1]["origin"] == "url"


def test_a_kernel_that_is_not_taken_goes_by_chainload_to_the_shell() -> None:
    play = scene(peer=good_site())
    play.kexec.refuse("the running kernel forbids it (EPERM)")
    play.loader.look = StagingSupport(obstacle="the stick is write-protected")
    assert play.play() is State.OFF
    assert_refused(play, "the running kernel forbids it (EPERM)")
    assert_refused(play, "the stick is write-protected")
    assert play.walk.states[-4:] == (State.KEXEC, State.CHAINLOAD, State.SHELL, State.OFF)


def test_endless_bad_candidates_end_in_the_shell() -> None:
    urls = [f"http://bad/{n}/stable/amd64/manifest.json" for n in range(100)]
    play = scene(*urls, bad=Site({}))
    assert play.play() is State.OFF
    assert_refused(play, "none of the 4 found can be booted")


def test_a_reboot_is_asked_for_only_by_a_person() -> None:
    play = scene(bad=Site({}))
    play.operator.answers = [Answer(MenuAction.RETRY), Answer(MenuAction.REBOOT)]
    assert play.play() is State.OFF
    assert play.operator.performed == [MenuAction.REBOOT]
    assert play.walk.states.count(State.INIT) == 2


def test_after_a_jump_that_failed_a_retry_opens_the_store_anew() -> None:
    play = scene(peer=good_site())
    play.kexec.jump_refusals = ["the jump into the new kernel failed"]
    play.loader.look = StagingSupport(obstacle="the stick is write-protected")
    play.operator.answers = [Answer(MenuAction.RETRY)]
    assert play.play() is State.TARGET
    assert play.kexec.jumped
    assert len(play.of("store.opened")) == 2
    assert play.cache.released >= 2


def test_memory_that_ran_out_before_the_load_leaves_no_artifact_open() -> None:
    play = scene(peer=good_site())
    play.platform = _Shrinking()
    assert play.play() is State.OFF
    assert_refused(play, "MiB of memory")
    assert play.boot is not None
    assert play.boot.images is not None
    with pytest.raises(ValueError, match="closed"):
        play.boot.images.kernel.fileno()


class _Shrinking(FakePlatform):
    """Has memory when it is asked before the download, and none after it."""

    def memory_available(self) -> int:
        free, self.memory = self.memory, 0
        return free


def test_after_two_failures_of_the_daemon_a_person_is_asked_before_anything_is_tried() -> None:
    play = scene(peer=good_site())
    play.operator.answers = [Answer(MenuAction.RETRY)]
    play.start = BootContext(
        failure=Failure(name="Failed", sentence="Phase Boot itself failed twice")
    )
    assert play.play() is State.TARGET
    assert play.operator.reports[0].cause == "Phase Boot itself failed twice"
    assert play.walk.states[:3] == (State.INIT, State.SHELL, State.INIT)
    assert not play.operator.reports[1:]
