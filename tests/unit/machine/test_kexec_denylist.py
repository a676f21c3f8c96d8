"""Machine models on which kexec failed: stored on Cache, bounded, validated."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from phase_boot.content.arch import Arch
from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.fakes import FakeCache
from phase_boot.drill.memory_state_files import MemoryStateFiles
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State
from phase_boot.machine.kexec_denylist import (
    MAX_MODELS,
    PAGE,
    kexec_failed_before,
    remember_failure,
)
from phase_boot.ports.platform import Facts
from tests.support.boot_payloads import PROTECTED


def failing(scenario: Scenario) -> Scenario:
    scenario.kexec.refuse("no free place (EADDRNOTAVAIL)", errno="EADDRNOTAVAIL", lasting=True)
    return scenario


def test_a_model_on_which_kexec_failed_starts_with_the_firmware_next_time() -> None:
    first = failing(lan_scenario(peer=good_server()))
    assert first.run() is State.FIRMWARE
    again = lan_scenario(peer=good_server())
    again.cache = first.cache
    assert again.run() is State.FIRMWARE
    assert again.kexec.tried == []
    assert "failed on this model" in again.of("kernel.inspected")[0]["reason"]


def test_a_failure_of_one_model_does_not_affect_another() -> None:
    first = failing(lan_scenario(peer=good_server()))
    first.run()
    other = lan_scenario(peer=good_server())
    other.cache, other.platform.model = first.cache, "ACME Other"
    assert other.run() is State.TARGET


def test_a_jump_that_returned_is_remembered_too() -> None:
    first = lan_scenario(peer=good_server())
    first.kexec.jump_refusals = ["the jump failed"]
    first.run()
    assert PAGE in first.cache.state_files.files


@pytest.mark.parametrize("errno", ["ENOEXEC", "ENODATA", "EPERM"])
def test_a_refusal_caused_by_the_image_or_a_setting_is_not_recorded(errno: str) -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refuse("no", errno=errno)
    assert scenario.run() is State.FIRMWARE
    assert PAGE not in scenario.cache.state_files.files


def test_without_chainload_kexec_is_tried_again_on_a_failed_model() -> None:
    first = failing(lan_scenario(peer=good_server()))
    first.run()
    again = lan_scenario(peer=good_server())
    again.cache, again.loader.support = first.cache, PROTECTED
    assert again.run() is State.TARGET


def test_without_cache_no_model_is_remembered() -> None:
    scenario = failing(lan_scenario(peer=good_server()))
    scenario.cache = FakeCache(cache=None)
    assert scenario.run() is State.FIRMWARE
    assert scenario.cache.memory_state_files.files.get(PAGE) is None


def facts(model: str | None, built: int = 2025) -> Facts:
    return Facts(
        arch=Arch.AMD64,
        mode="internet",
        url=None,
        built=datetime(built, 1, 1, tzinfo=UTC),
        stages=(),
        model=model,
    )


def test_a_new_build_discards_the_list_of_the_old_one() -> None:
    state_files = MemoryStateFiles()
    remember_failure(state_files, facts("A"))
    assert kexec_failed_before(state_files, facts("A"))
    assert not kexec_failed_before(state_files, facts("A", built=2026))
    remember_failure(state_files, facts("B", built=2026))
    assert not kexec_failed_before(state_files, facts("A"))


def test_the_oldest_models_are_evicted() -> None:
    state_files = MemoryStateFiles()
    for number in range(MAX_MODELS + 1):
        remember_failure(state_files, facts(f"model {number}"))
    assert not kexec_failed_before(state_files, facts("model 0"))
    assert kexec_failed_before(state_files, facts(f"model {MAX_MODELS}"))


def test_a_machine_without_a_model_name_is_not_recorded() -> None:
    state_files = MemoryStateFiles()
    remember_failure(state_files, facts(None))
    assert state_files.files == {}
    assert not kexec_failed_before(state_files, facts(None))


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"null",
        b'{"a": 1}',
        b"[" * 100_000,
        b"[[]]",
        b'[["2025-01-01T00:00:00+00:00"]]',
        b'[["2025-01-01T00:00:00+00:00", 7]]',
        b'[["2025-01-01T00:00:00+00:00", "' + b"A" * 5000 + b'"]]',
        b"\xff" * 100,
        b'["' + b"x" * 1_000_000 + b'"]',
    ],
    ids=["empty", "null", "table", "deep", "hole", "half", "number", "long", "bytes", "huge"],
)
def test_an_invalid_list_of_models_is_ignored(page: bytes) -> None:
    state_files = MemoryStateFiles({PAGE: page})
    assert not kexec_failed_before(state_files, facts("A"))
    remember_failure(state_files, facts("A"))
    assert kexec_failed_before(state_files, facts("A"))
