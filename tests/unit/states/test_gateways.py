"""Boots whose policy names gateways: where these help, and the sources that the target gets."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_servers import FakeServer, gateway_with_chunks, server_with_chunks
from phase_boot.drill.sample_manifest import KERNEL, ROOTFS
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State
from policies.model import Reach

MANIFEST = "stable/amd64/manifest.json"


def only_the_manifest(**changes: Any) -> FakeServer:
    return FakeServer({MANIFEST: server_with_chunks(**changes).files[MANIFEST]})


def with_gateway(peer: FakeServer, gate: FakeServer | None = None) -> tuple[Scenario, FakeServer]:
    scenario, gate = lan_scenario(peer=peer), gate or gateway_with_chunks()
    scenario.fetcher.servers["http://gate"] = gate
    scenario.platform.table["discovery"]["gateways"] = ["http://gate"]
    return scenario, gate


def handed_over_sources(scenario: Scenario) -> dict[str, str]:
    """Return what the document says that goes along with the initramfs."""
    assert scenario.kexec.initrd is not None
    start = scenario.kexec.initrd.index(b'{\n "schema"')
    document = json.JSONDecoder().raw_decode(scenario.kexec.initrd[start:].decode())[0]
    sources: dict[str, str] = document["sources"]
    return sources


def test_a_gateway_alone_serves_a_boot_after_a_provider_offered_the_manifest() -> None:
    scenario, gate = with_gateway(only_the_manifest())
    assert scenario.run() is State.TARGET
    assert scenario.kexec.kernel == KERNEL
    assert {event["source"] for event in scenario.of("fetch.done")} == {"http://gate"}
    assert all(path.startswith("ipfs/") for path in gate.requests)


def test_without_dags_in_the_manifest_no_gateway_is_used() -> None:
    scenario, gate = with_gateway(server_with_chunks(dags={}))
    assert scenario.run() is State.TARGET
    assert not gate.requests


def test_a_gateway_with_wrong_blocks_is_banned_and_the_mirror_serves_the_boot() -> None:
    liar = gateway_with_chunks()
    liar.tamper = lambda _, data: bytes(len(data))
    scenario, _ = with_gateway(server_with_chunks(), liar)
    assert scenario.run() is State.TARGET
    assert scenario.kexec.kernel == KERNEL
    failed = [event["source"] for event in scenario.of("source.failed")]
    assert failed in ([], ["http://gate"])


def test_in_local_mode_a_gateway_is_asked_with_the_reach_of_the_lan() -> None:
    scenario, gate = with_gateway(only_the_manifest())
    table = scenario.platform.table
    table["mode"], table["network"]["reach"] = "local", "lan"
    table["discovery"]["order"] = ["lan", "cache"]
    assert scenario.run() is State.TARGET
    assert gate.requests
    assert scenario.fetcher.reaches == {Reach.LAN}


def test_artifacts_that_no_source_has_end_the_boot_despite_a_gateway() -> None:
    scenario, gate = with_gateway(only_the_manifest(), FakeServer({}))
    assert scenario.run() is State.OFF
    assert not scenario.kexec.jumped
    assert all(path.startswith("ipfs/") for path in gate.requests)


def test_the_started_system_takes_no_gateway_for_a_mirror() -> None:
    scenario, _ = with_gateway(only_the_manifest())
    assert scenario.run() is State.TARGET
    assert set(handed_over_sources(scenario).values()) == {"ipfs+http://gate"}
    mirror, _ = with_gateway(server_with_chunks(), FakeServer({}))
    assert mirror.run() is State.TARGET
    assert set(handed_over_sources(mirror).values()) == {"http://peer"}


def test_a_server_that_is_gateway_and_mirror_is_handed_over_as_a_mirror() -> None:
    scenario = lan_scenario(peer=server_with_chunks())
    scenario.platform.table["discovery"]["gateways"] = ["http://peer"]
    assert scenario.run() is State.TARGET
    assert set(handed_over_sources(scenario).values()) == {"http://peer"}
    assert f"cas/sha256/{Digest.of(ROOTFS).hex}" in scenario.fetcher.servers["http://peer"].requests


@pytest.fixture(autouse=True)
def no_leftover_tasks() -> Iterator[None]:
    """A pending task warns when it is collected; warnings are errors."""
    yield
    gc.collect()
