"""Redirects of documents to other hosts, and their number in a boot."""

from __future__ import annotations

import pytest

from phase_boot.console.lines import line_for
from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.scenario import lan_scenario
from phase_boot.machine.graph import State
from policies.model import DEFAULT_REDIRECTS, MAX_REDIRECTS, PolicyError, policy_from

TARGET = "https://cdn.example/stable/amd64/manifest.json?sig=1"


def test_the_host_that_a_document_came_from_is_in_the_journal_and_on_the_screen() -> None:
    scenario = lan_scenario(good=good_server())
    scenario.fetcher.servers["http://good"].moved = (TARGET,)
    assert scenario.run() is State.TARGET
    named = scenario.of("document.redirected")
    assert {event["target"] for event in named} == {TARGET}
    assert named[-1]["url"] == scenario.fetcher.manifest_url("good")
    assert TARGET[:30] in (line_for(named[-1]) or "")


def test_the_policys_number_of_redirects_holds_for_documents_and_artifacts() -> None:
    scenario = lan_scenario(good=good_server())
    scenario.platform.table["network"]["redirects"] = 3
    assert scenario.run() is State.TARGET
    assert scenario.fetcher.redirects == {3}


def number(value: object) -> int:
    table = policy_table()
    table["network"]["redirects"] = value
    return policy_from(table, read=lambda _: b"").network.redirects


def test_a_policy_without_a_number_of_redirects_has_a_default() -> None:
    table = policy_table()
    table["network"].pop("redirects", None)
    assert policy_from(table, read=lambda _: b"").network.redirects == DEFAULT_REDIRECTS
    assert (number(0), number(MAX_REDIRECTS)) == (0, MAX_REDIRECTS)


@pytest.mark.parametrize("value", [-1, MAX_REDIRECTS + 1, True, "5"])
def test_an_invalid_number_of_redirects_is_refused(value: object) -> None:
    with pytest.raises(PolicyError, match=r"network.redirects"):
        number(value)
