"""Private mode: what it promises is read back, and an unmet promise ends in the Shell."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from phase_boot.drill.fake_privacy import BURNED_IN, GOOD, KEPT, SOUND, FakePrivacy
from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.drill.scenarios import private
from phase_boot.machine.graph import State
from phase_boot.ports.network import Setup
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.ports.privacy import Evidence, Unreadable

ALONE = replace(SOUND, interfaces=(KEPT,), configurations=())
BOTH = replace(SOUND, interfaces=(GOOD, KEPT))
EXPOSED = replace(SOUND, interfaces=(replace(GOOD, address=BURNED_IN),))


def booting(found: Evidence, *later: Evidence, **changes: Any) -> Scenario:
    scenario = private()
    scenario.operator.answers = []
    scenario.privacy = FakePrivacy(found, later=list(later))
    for name, value in changes.items():
        setattr(scenario.network, name, value)
    return scenario


def test_a_card_that_keeps_its_address_is_named_and_the_boot_uses_the_other() -> None:
    scenario = booting(BOTH)
    assert scenario.run() is State.TARGET
    (refused,) = scenario.of("link.refused")
    assert refused["interface"] == "eth1"
    assert "burned-in" in refused["reason"]
    assert "Operation not supported" in refused["reason"]
    assert "another mode" in refused["way_out"]


def test_the_read_back_is_journalled_before_discover_and_before_the_jump() -> None:
    scenario = booting(SOUND)
    assert scenario.run() is State.TARGET
    names = [event["event"] for event in scenario.events]
    checks = [at for at, name in enumerate(names) if name == "privacy.checked"]
    assert len(checks) == 2
    assert checks[0] < names.index("candidate.found") < names.index("fetch.done") < checks[1]
    assert checks[1] < names.index("kexec.loaded")
    last = scenario.of("privacy.checked")[-1]
    assert last["interfaces"] == ["eth0"]
    assert last["identifiers"] == ["eth0 client", "eth0 DUID", "eth0 IAID"]


def test_without_another_card_the_operator_gets_its_name_and_the_reason() -> None:
    scenario = booting(ALONE, up=False)
    assert scenario.run() is State.OFF
    assert "eth1" in scenario.cause
    assert "burned-in" in scenario.cause
    assert "choose another mode" in scenario.cause
    assert "check the cable" not in scenario.cause
    assert scenario.boot is not None
    assert scenario.boot.failure is None or scenario.boot.failure.name == "NoNetwork"


def test_another_card_without_an_address_is_not_forgotten() -> None:
    scenario = booting(BOTH, up=False)
    scenario.run()
    assert "no link got an address" in scenario.cause
    assert "eth1" in scenario.cause


def test_no_request_is_sent_on_a_network_that_sees_the_burned_in_address() -> None:
    scenario = booting(EXPOSED)
    assert scenario.run() is State.OFF
    assert "eth0 is up with its burned-in hardware address" in scenario.cause
    assert scenario.of("candidate.found") == []
    assert not scenario.kexec.jumped


def test_a_promise_that_breaks_before_the_jump_stops_it() -> None:
    scenario = booting(SOUND, replace(SOUND, variables=("BootOrder-x",)))
    assert scenario.run() is State.OFF
    assert scenario.of("fetch.done")
    assert "BootOrder" in scenario.cause
    assert scenario.kexec.tried == []
    assert not scenario.kexec.jumped


def test_a_card_plugged_in_later_is_named_once() -> None:
    scenario = booting(SOUND, BOTH)
    assert scenario.run() is State.TARGET
    assert [event["interface"] for event in scenario.of("link.refused")] == ["eth1"]


def test_a_person_cannot_set_up_a_card_that_was_left_out() -> None:
    scenario = booting(ALONE, up=False)
    setup = Setup(interface="eth1", addresses=(ip_interface("10.0.0.9/24"),))
    scenario.operator.answers = [Answer(MenuAction.NETWORK, setup=setup)]
    scenario.run()
    assert scenario.network.setups == []
    assert "burned-in" in scenario.of("network.not_set")[0]["reason"]
    note = scenario.operator.reports[-1].note
    assert note is not None
    assert note.startswith("eth1 is not set up: it keeps its burned-in hardware address")


def test_a_promise_that_cannot_be_read_back_counts_as_broken() -> None:
    scenario = booting(SOUND)
    scenario.privacy = UnreadablePrivacy()
    assert scenario.run() is State.OFF
    assert "cannot be read back" in scenario.cause
    assert not scenario.kexec.jumped


class UnreadablePrivacy(FakePrivacy):
    """Nothing can be read back."""

    async def evidence(self) -> Evidence:
        raise Unreadable("the kernel does not list its network interfaces")


def test_firmware_that_never_answers_costs_half_a_minute() -> None:
    scenario = booting(SOUND)
    scenario.privacy = HangingPrivacy()
    assert scenario.run() is State.OFF
    assert "more than 30 seconds" in scenario.cause


class HangingPrivacy(FakePrivacy):
    """The firmware does not answer."""

    async def begin(self) -> None:
        await asyncio.sleep(1e6)


def test_other_modes_do_not_check_the_private_promises() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.privacy = FakePrivacy(EXPOSED)
    assert scenario.run() is State.TARGET
    assert scenario.privacy.readings == 0
    assert not scenario.privacy.begun


def test_a_person_cannot_list_candidates_on_a_network_that_sees_the_burned_in_address() -> None:
    scenario = booting(EXPOSED)
    scenario.operator.answers = [Answer(MenuAction.CANDIDATE)]
    assert scenario.run() is State.OFF
    assert scenario.operator.offered == []
    assert scenario.of("candidate.found") == []
    note = scenario.operator.reports[-1].note
    assert note is not None
    assert "Nothing is looked for" in note
    assert "burned-in" in note
