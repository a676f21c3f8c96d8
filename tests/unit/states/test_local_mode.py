"""Local mode: the LAN, then Cache, and nothing beyond."""

from __future__ import annotations

from typing import Any

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_network import FakeNetwork
from phase_boot.drill.fake_privacy import FakePrivacy
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.fakes import FakeCache, FakePlatform, policy_table
from phase_boot.drill.sample_manifest import (
    INITRAMFS,
    KERNEL,
    ROOTFS,
    UNTRUSTED_KEY,
    document,
    signed,
)
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State
from phase_boot.ports.privacy import Unreadable
from phase_boot.store.disk import Folder
from policies.model import Reach

MANIFEST = "stable/amd64/manifest.json"


def table(**changes: Any) -> dict[str, Any]:
    local = {
        "mode": "local",
        "discovery": {
            "order": ["lan", "cache"],
            "window_seconds": 5,
            "urls": [],
            "candidates": 4,
            "routers": [],
            "gateways": [],
            "bootstrap": [],
        },
        "network": {"wait_seconds": 20, "reach": "lan"},
    }
    return policy_table(**(local | changes))


def local(scenario: Scenario, cache: FakeCache | None = None, *, up: bool = True) -> Scenario:
    scenario.platform = FakePlatform(table=table())
    scenario.network = FakeNetwork(up=up)
    scenario.cache = cache or FakeCache()
    return scenario


def booted_once(server: FakeServer | None = None) -> FakeCache:
    """Return the Cache of a stick that has booted."""
    scenario = local(lan_scenario(peer=server or good_server()))
    assert scenario.run() is State.TARGET
    return scenario.cache


def test_with_the_cable_out_the_version_on_cache_boots() -> None:
    cache = booted_once()
    offline = local(lan_scenario(), cache, up=False)
    assert offline.run() is State.TARGET
    assert offline.kexec.kernel == KERNEL
    assert [move["trigger"] for move in offline.of("transition")][1] == "offline"
    assert offline.of("candidate.found")[0]["finder"] == "cache"
    assert {event["source"] for event in offline.of("fetch.done")} == {"store"}


def test_on_a_lan_without_a_provider_the_version_on_cache_boots() -> None:
    cache = booted_once()
    lonely = local(lan_scenario(), cache)
    assert lonely.run() is State.TARGET
    assert lonely.of("candidate.found")[0]["finder"] == "cache"


def test_a_newer_version_on_the_lan_is_preferred_to_the_one_on_cache() -> None:
    cache = booted_once()
    newer = local(lan_scenario(peer=good_server(version="2026.01.01")), cache)
    assert newer.run() is State.TARGET
    assert newer.of("kexec.jump")[0]["version"] == "2026.01.01"


def test_a_false_provider_does_not_stop_the_version_on_cache() -> None:
    cache = booted_once()
    forged = good_server()
    forged.files[MANIFEST] = signed(document(version="2027.01.01"), UNTRUSTED_KEY)
    scenario = local(lan_scenario(peer=forged), cache)
    assert scenario.run() is State.TARGET
    assert [event["code"] for event in scenario.of("candidate.refused")] == ["signature.untrusted"]
    assert scenario.kexec.kernel == KERNEL


def test_an_expired_version_on_cache_is_not_booted() -> None:
    cache = booted_once()
    late = local(lan_scenario(), cache, up=False)
    late.clock.start = late.clock.start.replace(year=2030)
    assert late.run() is State.OFF
    assert "expired" in late.cause
    assert not late.kexec.jumped


def test_a_kept_manifest_without_its_artifacts_ends_in_the_shell() -> None:
    cache = booted_once()
    assert cache.cache is not None
    cache.cache.remove(Folder.ENTRIES, Digest.of(ROOTFS).hex)
    offline = local(lan_scenario(), cache, up=False)
    assert offline.run() is State.OFF
    assert "no source to fetch from" in offline.cause
    assert not offline.kexec.jumped


def test_a_kernel_damaged_on_cache_is_not_booted_with_the_cable_out() -> None:
    cache = booted_once()
    assert cache.cache is not None
    cache.cache.add_file(Folder.ENTRIES, Digest.of(INITRAMFS).hex, b"\0" * len(INITRAMFS))
    offline = local(lan_scenario(), cache, up=False)
    assert offline.run() is State.OFF
    assert offline.of("store.corrupt")
    assert not offline.kexec.jumped


def test_an_empty_cache_without_a_network_says_to_check_the_cable() -> None:
    fresh = local(lan_scenario(), up=False)
    assert fresh.run() is State.OFF
    assert "check the cable" in fresh.cause
    assert fresh.of("link.missing")


def test_internet_mode_without_a_network_does_not_boot_from_cache() -> None:
    cache = booted_once()
    scenario = lan_scenario()
    scenario.cache, scenario.network = cache, FakeNetwork(up=False)
    assert scenario.run() is State.OFF
    assert "no link got an address" in scenario.cause
    assert not scenario.kexec.jumped


def test_every_request_has_the_reach_of_the_lan() -> None:
    scenario = local(lan_scenario(peer=good_server()))
    assert scenario.run() is State.TARGET
    assert scenario.fetcher.reaches == {Reach.LAN}


def test_a_route_beyond_the_lan_is_found_before_any_request() -> None:
    scenario = local(lan_scenario(peer=good_server()))
    scenario.privacy = FakePrivacy(routed=("eth0",))
    assert scenario.run() is State.OFF
    assert "eth0 has a route beyond its own network" in scenario.cause
    assert "without a gateway" in scenario.cause
    assert scenario.of("candidate.found") == []
    assert not scenario.kexec.jumped


def test_a_route_that_appears_while_it_fetches_stops_the_jump() -> None:
    scenario = local(lan_scenario(peer=good_server()))
    scenario.privacy = Later(routed=("eth0",))
    assert scenario.run() is State.OFF
    assert scenario.of("fetch.done")
    assert "has a route beyond" in scenario.cause
    assert scenario.kexec.tried == []


class Later(FakePrivacy):
    """The route is there from the second reading on."""

    async def routes(self) -> tuple[str, ...]:
        self.readings += 1
        return self.routed if self.readings > 1 else ()


def test_unreadable_routes_fail_the_read_back() -> None:
    scenario = local(lan_scenario(peer=good_server()))
    scenario.privacy = UnreadablePrivacy()
    assert scenario.run() is State.OFF
    assert "cannot be read back" in scenario.cause


class UnreadablePrivacy(FakePrivacy):
    """Nothing can be read back."""

    async def routes(self) -> tuple[str, ...]:
        raise Unreadable("/proc/net/route is not there")
