"""A network that answers for everybody until somebody signs in (SPEC M2.3)."""

from __future__ import annotations

from phase_boot.drill.fake_mirrors import Site, good_site
from phase_boot.drill.fakes import FakeOperator, FakePlatform
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.machine.graph import State
from phase_boot.ports.operator import Answer, MenuAction, Report

SENT = "it sent us to http://portal.example/login"


def behind(**sites: Site) -> Scenario:
    play = scene(**sites)
    play.found = []
    play.platform = FakePlatform(url=play.sites.manifest_url("far"))
    return play


def test_a_captive_portal_is_named_with_both_ways_out() -> None:
    far = good_site()
    far.portal = SENT
    play = behind(far=far)
    play.play()
    assert not play.kexec.jumped
    assert play.walk.states[-2:] == (State.SHELL, State.OFF)
    assert play.cause.startswith(f"this network has a captive portal ({SENT}): sign in from")
    assert "type the URL of a manifest" in play.cause
    assert [event["code"] for event in play.of("candidate.refused")] == ["portal"]


def test_after_the_sign_in_a_retry_boots() -> None:
    far = good_site()
    far.portal = SENT
    play = behind(far=far)

    class SignsIn(FakeOperator):
        async def ask(self, report: Report) -> Answer:
            far.portal = None
            return await super().ask(report)

    play.operator = SignsIn([Answer(MenuAction.RETRY)])
    assert play.play() is State.TARGET
    assert play.boot is not None
    assert play.boot.portal is None


def test_a_mirror_on_the_near_side_of_the_portal_is_booted_by_its_url() -> None:
    far, near = good_site(), good_site()
    far.portal = SENT
    play = behind(far=far, near=near)
    play.operator.answers = [Answer(MenuAction.URL, play.sites.manifest_url("near"))]
    assert play.play() is State.TARGET
    assert play.kexec.jumped


def test_a_neighbour_cannot_pass_itself_off_as_the_networks_portal() -> None:
    liar = good_site()
    liar.portal = "it sent us to http://liar.example/your-password"
    play = scene(liar=liar)
    play.play()
    assert "captive portal" not in play.cause
    assert play.cause.startswith("none of the 1 found can be booted")
