"""Boots whose policy names gateways: where these help, and what the started system is told."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_mirrors import Site, gateway_with_chunks, site_with_chunks
from phase_boot.drill.sample_manifest import KERNEL, ROOTFS
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.machine.graph import State
from policies.model import Reach

MANIFEST = "stable/amd64/manifest.json"


def only_the_manifest(**changes: Any) -> Site:
    return Site({MANIFEST: site_with_chunks(**changes).files[MANIFEST]})


def with_gateway(peer: Site, gate: Site | None = None) -> tuple[Scenario, Site]:
    play, gate = scene(peer=peer), gate or gateway_with_chunks()
    play.sites.by_base["http://gate"] = gate
    play.platform.table["discovery"]["gateways"] = ["http://gate"]
    return play, gate


def sources_told(play: Scenario) -> dict[str, str]:
    """Return what the document says that goes along with the initramfs."""
    assert play.kexec.initrd is not None
    start = play.kexec.initrd.index(b'{\n "schema"')
    document = json.JSONDecoder().raw_decode(play.kexec.initrd[start:].decode())[0]
    told: dict[str, str] = document["sources"]
    return told


def test_a_boot_is_fed_by_a_gateway_alone_once_somebody_has_offered_the_manifest() -> None:
    play, gate = with_gateway(only_the_manifest())
    assert play.play() is State.TARGET
    assert play.kexec.kernel == KERNEL
    assert {event["source"] for event in play.of("fetch.done")} == {"http://gate"}
    assert all(path.startswith("ipfs/") for path in gate.asked)


def test_where_the_manifest_names_no_dags_the_gateway_is_not_asked() -> None:
    play, gate = with_gateway(site_with_chunks(dags={}))
    assert play.play() is State.TARGET
    assert not gate.asked


def test_a_gateway_that_lies_is_banned_and_the_mirror_boots_all_the_same() -> None:
    liar = gateway_with_chunks()
    liar.twist = lambda _, data: bytes(len(data))
    play, _ = with_gateway(site_with_chunks(), liar)
    assert play.play() is State.TARGET
    assert play.kexec.kernel == KERNEL
    failed = [event["source"] for event in play.of("source.failed")]
    assert failed in ([], ["http://gate"])


def test_in_local_mode_a_gateway_is_asked_with_the_reach_of_the_lan() -> None:
    play, gate = with_gateway(only_the_manifest())
    table = play.platform.table
    table["mode"], table["network"]["reach"] = "local", "lan"
    table["discovery"]["order"] = ["lan", "cache"]
    assert play.play() is State.TARGET
    assert gate.asked
    assert play.sites.reaches == {Reach.LAN}


def test_a_gateway_does_not_bring_a_boot_whose_artifacts_nobody_has() -> None:
    play, gate = with_gateway(only_the_manifest(), Site({}))
    assert play.play() is State.OFF
    assert not play.kexec.jumped
    assert all(path.startswith("ipfs/") for path in gate.asked)


def test_the_started_system_takes_no_gateway_for_a_mirror() -> None:
    play, _ = with_gateway(only_the_manifest())
    assert play.play() is State.TARGET
    assert set(sources_told(play).values()) == {"ipfs+http://gate"}
    mirror, _ = with_gateway(site_with_chunks(), Site({}))
    assert mirror.play() is State.TARGET
    assert set(sources_told(mirror).values()) == {"http://peer"}


def test_a_server_that_is_a_mirror_too_is_told_as_one() -> None:
    play = scene(peer=site_with_chunks())
    play.platform.table["discovery"]["gateways"] = ["http://peer"]
    assert play.play() is State.TARGET
    assert set(sources_told(play).values()) == {"http://peer"}
    assert f"cas/sha256/{Digest.of(ROOTFS).hex}" in play.sites.by_base["http://peer"].asked


@pytest.fixture(autouse=True)
def no_loose_ends() -> Iterator[None]:
    """A task that was left behind says so when it is collected; warnings are errors."""
    yield
    gc.collect()
