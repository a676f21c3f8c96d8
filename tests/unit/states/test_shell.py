"""The Seed Shell: the result of each menu action."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.sample_manifest import KERNEL, UNTRUSTED_KEY, document, signed
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State
from phase_boot.ports.network import Setup
from phase_boot.ports.operator import Answer, CandidateOption, MenuAction

STATIC = Setup(
    interface="eth0",
    addresses=(ip_interface("10.0.0.9/24"),),
    gateways=(ip_address("10.0.0.1"),),
    vlan=7,
)


def unsigned_server() -> FakeServer:
    return FakeServer({"stable/amd64/manifest.json": signed(document(mirrors=[]), UNTRUSTED_KEY)})


def tampering_server() -> FakeServer:
    """Its manifest is good and its kernel is not what was signed."""
    server = good_server()
    path = f"cas/sha256/{Digest.of(KERNEL).hex}"
    server.tamper = lambda asked, data: bytes(len(data)) if asked == path else data
    return server


def asking(scenario: Scenario, *answers: Answer | MenuAction, **changes: Any) -> Scenario:
    scenario.platform.table.update(changes)
    scenario.operator.answers = [a if isinstance(a, Answer) else Answer(a) for a in answers]
    return scenario


def test_every_action_that_the_policy_allows_is_offered() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()))
    assert scenario.run() is State.OFF
    report = scenario.operator.reports[0]
    assert set(report.actions) == set(MenuAction) - {MenuAction.ROOT_SHELL}
    assert report.mode == "internet"
    assert report.interfaces == ("eth0",)
    assert "candidate.refused" in {event["event"] for event in report.events}


def test_a_root_shell_is_opened_if_the_policy_allows_it_and_the_menu_returns() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()), MenuAction.ROOT_SHELL)
    scenario.platform.table["shell"]["root"] = True
    assert scenario.run() is State.OFF
    assert scenario.operator.performed == [MenuAction.ROOT_SHELL, MenuAction.QUIT]
    assert scenario.operator.reports[1].note == "The root shell has ended."


def test_private_saves_no_report_and_offers_none() -> None:
    scenario = lan_scenario(bad=unsigned_server())
    asking(scenario, MenuAction.SAVE, mode="private", cache_enabled=False)
    assert scenario.run() is State.OFF
    assert MenuAction.SAVE not in scenario.operator.reports[0].actions
    assert scenario.reports.saved == {}
    assert scenario.operator.performed == [MenuAction.QUIT]


def test_without_a_policy_nothing_is_written_and_no_root_shell_opens() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()), mode="nonsense")
    assert scenario.run() is State.OFF
    forbidden = {MenuAction.CANDIDATE, MenuAction.SAVE, MenuAction.ROOT_SHELL}
    assert set(scenario.operator.reports[0].actions) == set(MenuAction) - forbidden


def test_a_report_has_cause_and_journal_and_its_path_is_shown() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()), MenuAction.SAVE)
    scenario.run()
    text = scenario.reports.saved["test"]
    assert text.isascii()
    assert "cause:     none of the 1 found can be booted" in text
    assert "machine:   amd64" in text
    assert "- http://bad/stable/amd64/manifest.json: " in text
    assert "discover -> verify" in text
    assert '"event": "candidate.refused"' in text
    assert scenario.of("report.saved")[0]["where"] == "/phase/reports/test.txt"
    note = scenario.operator.reports[1].note
    assert note == "The report is saved: /phase/reports/test.txt."


def test_a_report_that_cannot_be_saved_is_reported_and_the_menu_returns() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()), MenuAction.SAVE)
    scenario.reports.refusal = "the stick is read-only"
    scenario.run()
    assert scenario.of("report.not_saved")[0]["reason"] == "the stick is read-only"
    note = scenario.operator.reports[1].note
    assert note == "The report could not be saved: the stick is read-only."


def test_a_network_that_was_set_up_is_tried_at_once() -> None:
    scenario = asking(lan_scenario(peer=good_server()), Answer(MenuAction.NETWORK, setup=STATIC))
    scenario.network.up = False
    assert scenario.run() is State.TARGET
    assert scenario.network.setups == [(STATIC, False)]
    assert scenario.of("network.set")[0]["addresses"] == ["10.0.0.9/24"]


def test_in_local_mode_a_network_is_set_up_that_leads_nowhere_else() -> None:
    scenario = asking(
        lan_scenario(bad=unsigned_server()), Answer(MenuAction.NETWORK, setup=STATIC), mode="local"
    )
    scenario.platform.table["network"]["reach"] = "lan"
    scenario.run()
    assert scenario.network.setups == [(STATIC, True)]


def test_a_network_that_cannot_be_set_up_is_reported_and_the_menu_returns() -> None:
    scenario = asking(
        lan_scenario(peer=good_server()),
        Answer(MenuAction.NETWORK, setup=STATIC),
        MenuAction.NETWORK,
    )
    scenario.network.up = False
    scenario.network.refusal = "networkd is not running"
    assert scenario.run() is State.OFF
    assert scenario.of("network.not_set")[0]["reason"] == "networkd is not running"
    assert [report.note for report in scenario.operator.reports] == [
        None,
        "The network could not be set up: networkd is not running.",
        "The network is as it was.",
    ]


def test_a_candidate_can_be_chosen_and_is_tried_first() -> None:
    scenario = asking(
        lan_scenario(bad=unsigned_server(), other=unsigned_server()), MenuAction.CANDIDATE
    )
    scenario.fetcher.servers["http://good"] = good_server()
    # It turns up only when a person looks again.
    scenario.lan_urls.append(scenario.fetcher.manifest_url("good"))
    scenario.platform.table["discovery"]["candidates"] = 2
    scenario.operator.choices = [scenario.fetcher.manifest_url("good")]
    assert scenario.run() is State.TARGET
    bad, other, good = scenario.operator.offered[0]
    assert bad.refused is not None
    assert other.refused is not None
    assert good == CandidateOption(
        url=scenario.fetcher.manifest_url("good"), finder="lan", refused=None
    )
    assert scenario.of("candidate.found")[-1]["url"] == good.url


def test_a_refused_candidate_that_is_chosen_is_refused_again() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()), MenuAction.CANDIDATE)
    scenario.operator.choices = [scenario.fetcher.manifest_url("bad")]
    assert scenario.run() is State.OFF
    assert len(scenario.of("candidate.refused")) == 2
    assert scenario.kexec.kernel is None


@pytest.mark.parametrize("wish", [MenuAction.CANDIDATE, MenuAction.URL])
def test_a_banned_source_is_requested_again_only_by_a_plain_retry(wish: MenuAction) -> None:
    scenario = lan_scenario(liar=tampering_server())
    url = scenario.fetcher.manifest_url("liar")
    asking(scenario, Answer(wish, url if wish is MenuAction.URL else None), MenuAction.RETRY)
    scenario.operator.choices = [url]
    assert scenario.run() is State.OFF
    assert "http://liar sent other bytes than were signed" in (
        scenario.operator.reports[1].note or ""
    )
    assert scenario.walk.states.count(State.INIT) == 2
    assert scenario.kexec.kernel is None


def test_without_candidates_or_a_choice_nothing_is_selected() -> None:
    scenario = asking(
        lan_scenario(bad=unsigned_server()),
        MenuAction.CANDIDATE,
        MenuAction.CANDIDATE,
        MenuAction.URL,
    )
    scenario.operator.choices = [None, "http://somebody/else/manifest.json"]
    assert scenario.run() is State.OFF
    assert [report.note for report in scenario.operator.reports[1:]] == [
        "Nothing was chosen.",
        "Nothing was chosen.",
        "No URL was typed.",
    ]


def test_one_machine_with_a_hundred_announcements_hides_no_other() -> None:
    flood = [f"http://flood/{n}/stable/amd64/manifest.json" for n in range(100)]
    scenario = asking(
        lan_scenario(*flood, "http://honest/m.json", flood=FakeServer({})), MenuAction.CANDIDATE
    )
    scenario.run()
    hosts = [offer.url.split("/")[2] for offer in scenario.operator.offered[0]]
    assert hosts == ["flood"] * 4 + ["honest"]


def test_a_failing_finder_does_not_hide_what_the_others_find() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()), MenuAction.CANDIDATE)
    scenario.finder_broken = True
    scenario.platform.url = scenario.fetcher.manifest_url("bad")
    scenario.run()
    assert [offer.finder for offer in scenario.operator.offered[0]] == ["url"]


def test_the_journal_has_the_chosen_action_and_never_the_typed_text() -> None:
    scenario = asking(
        lan_scenario(bad=unsigned_server()),
        Answer(MenuAction.URL, "http://secret.example/m.json"),
        MenuAction.RETRY,
    )
    scenario.run()
    chosen = scenario.of("shell.chose")
    assert [event["action"] for event in chosen] == ["url", "retry", "quit"]
    assert "secret" not in str(chosen)


def test_an_answer_that_was_not_offered_is_ignored() -> None:
    scenario = asking(lan_scenario(bad=unsigned_server()), MenuAction.ROOT_SHELL, MenuAction.RETRY)
    assert scenario.run() is State.OFF
    assert scenario.operator.performed == [MenuAction.QUIT]
    assert scenario.of("shell.chose") == []
