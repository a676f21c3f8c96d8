"""Boots behind a captive portal (SPEC M2.3)."""

from __future__ import annotations

from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.fakes import FakeOperator, FakePlatform
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State
from phase_boot.ports.operator import Answer, MenuAction, Report

SENT = "it sent us to http://portal.example/login"


def behind(**servers: FakeServer) -> Scenario:
    scenario = lan_scenario(**servers)
    scenario.lan_urls = []
    scenario.platform = FakePlatform(url=scenario.fetcher.manifest_url("far"))
    return scenario


def test_a_captive_portal_is_named_with_both_remedies() -> None:
    far = good_server()
    far.portal = SENT
    scenario = behind(far=far)
    scenario.run()
    assert not scenario.kexec.jumped
    assert scenario.walk.states[-2:] == (State.SHELL, State.OFF)
    assert scenario.cause.startswith(f"this network has a captive portal ({SENT}): sign in from")
    assert "type the URL of a manifest" in scenario.cause
    assert [event["code"] for event in scenario.of("candidate.refused")] == ["portal"]


def test_after_the_sign_in_a_retry_boots() -> None:
    far = good_server()
    far.portal = SENT
    scenario = behind(far=far)

    class SignsIn(FakeOperator):
        async def ask(self, report: Report) -> Answer:
            far.portal = None
            return await super().ask(report)

    scenario.operator = SignsIn([Answer(MenuAction.RETRY)])
    assert scenario.run() is State.TARGET
    assert scenario.boot is not None
    assert scenario.boot.portal is None


def test_a_mirror_before_the_captive_portal_is_booted_by_its_url() -> None:
    far, near = good_server(), good_server()
    far.portal = SENT
    scenario = behind(far=far, near=near)
    scenario.operator.answers = [Answer(MenuAction.URL, scenario.fetcher.manifest_url("near"))]
    assert scenario.run() is State.TARGET
    assert scenario.kexec.jumped


def test_another_machine_cannot_pass_itself_off_as_the_captive_portal() -> None:
    liar = good_server()
    liar.portal = "it sent us to http://liar.example/your-password"
    scenario = lan_scenario(liar=liar)
    scenario.run()
    assert "captive portal" not in scenario.cause
    assert scenario.cause.startswith("none of the 1 found can be booted")
