"""Private mode: what it promises is read back, and an unmet promise ends in the Shell."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from phase_boot.drill.fake_mirrors import good_site
from phase_boot.drill.fake_privacy import BURNED_IN, GOOD, KEPT, SOUND, FakePrivacy
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.drill.scenarios import private
from phase_boot.machine.graph import State
from phase_boot.ports.network import Setup
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.ports.privacy import Evidence, Unreadable

ALONE = replace(SOUND, interfaces=(KEPT,), configurations=())
BOTH = replace(SOUND, interfaces=(GOOD, KEPT))
EXPOSED = replace(SOUND, interfaces=(replace(GOOD, address=BURNED_IN),))


def booting(found: Evidence, *later: Evidence, **changes: Any) -> Scenario:
    play = private()
    play.operator.answers = []
    play.privacy = FakePrivacy(found, later=list(later))
    for name, value in changes.items():
        setattr(play.network, name, value)
    return play


def test_a_card_that_keeps_its_address_is_named_and_the_boot_goes_on_over_the_other() -> None:
    play = booting(BOTH)
    assert play.play() is State.TARGET
    (refused,) = play.of("link.refused")
    assert refused["interface"] == "eth1"
    assert "burned-in" in refused["reason"]
    assert "Operation not supported" in refused["reason"]
    assert "another mode" in refused["way_out"]


def test_what_was_judged_is_in_the_journal_before_discover_and_before_the_jump() -> None:
    play = booting(SOUND)
    assert play.play() is State.TARGET
    names = [event["event"] for event in play.events]
    checks = [at for at, name in enumerate(names) if name == "privacy.checked"]
    assert len(checks) == 2
    assert checks[0] < names.index("candidate.found") < names.index("fetch.done") < checks[1]
    assert checks[1] < names.index("kexec.loaded")
    last = play.of("privacy.checked")[-1]
    assert last["interfaces"] == ["eth0"]
    assert last["identifiers"] == ["eth0 client", "eth0 DUID", "eth0 IAID"]


def test_without_any_other_card_the_person_is_told_which_and_why() -> None:
    play = booting(ALONE, up=False)
    assert play.play() is State.OFF
    assert "eth1" in play.cause
    assert "burned-in" in play.cause
    assert "choose another mode" in play.cause
    assert "check the cable" not in play.cause
    assert play.boot is not None
    assert play.boot.failure is None or play.boot.failure.name == "NoNetwork"


def test_another_card_without_an_address_is_not_forgotten() -> None:
    play = booting(BOTH, up=False)
    play.play()
    assert "no link got an address" in play.cause
    assert "eth1" in play.cause


def test_nothing_is_asked_of_a_network_that_sees_the_burned_in_address() -> None:
    play = booting(EXPOSED)
    assert play.play() is State.OFF
    assert "eth0 is up with its burned-in hardware address" in play.cause
    assert play.of("candidate.found") == []
    assert not play.kexec.jumped


def test_a_promise_that_breaks_before_the_jump_stops_it() -> None:
    play = booting(SOUND, replace(SOUND, variables=("BootOrder-x",)))
    assert play.play() is State.OFF
    assert play.of("fetch.done")
    assert "BootOrder" in play.cause
    assert play.kexec.tried == []
    assert not play.kexec.jumped


def test_a_card_plugged_in_later_is_named_once() -> None:
    play = booting(SOUND, BOTH)
    assert play.play() is State.TARGET
    assert [event["interface"] for event in play.of("link.refused")] == ["eth1"]


def test_a_person_cannot_have_a_card_set_up_that_is_left_out() -> None:
    play = booting(ALONE, up=False)
    setup = Setup(interface="eth1", addresses=(ip_interface("10.0.0.9/24"),))
    play.operator.answers = [Answer(MenuAction.NETWORK, setup=setup)]
    play.play()
    assert play.network.setups == []
    assert "burned-in" in play.of("network.not_set")[0]["reason"]
    note = play.operator.reports[-1].note
    assert note is not None
    assert note.startswith("eth1 is not set up: it keeps its burned-in hardware address")


def test_what_cannot_be_read_back_is_not_promised() -> None:
    play = booting(SOUND)
    play.privacy = Blind()
    assert play.play() is State.OFF
    assert "cannot be read back" in play.cause
    assert not play.kexec.jumped


class Blind(FakePrivacy):
    """Nothing can be read back."""

    async def evidence(self) -> Evidence:
        raise Unreadable("the kernel does not list its network interfaces")


def test_firmware_that_never_answers_costs_half_a_minute() -> None:
    play = booting(SOUND)
    play.privacy = Hanging()
    assert play.play() is State.OFF
    assert "more than 30 seconds" in play.cause


class Hanging(FakePrivacy):
    """The firmware does not answer."""

    async def begin(self) -> None:
        await asyncio.sleep(1e6)


def test_other_modes_promise_none_of_this() -> None:
    play = scene(peer=good_site())
    play.privacy = FakePrivacy(EXPOSED)
    assert play.play() is State.TARGET
    assert play.privacy.readings == 0
    assert not play.privacy.begun


def test_a_person_cannot_look_around_on_a_network_that_sees_the_burned_in_address() -> None:
    play = booting(EXPOSED)
    play.operator.answers = [Answer(MenuAction.CANDIDATE)]
    assert play.play() is State.OFF
    assert play.operator.offered == []
    assert play.of("candidate.found") == []
    note = play.operator.reports[-1].note
    assert note is not None
    assert "Nothing is looked for" in note
    assert "burned-in" in note
