"""Silent candidates: others are requested beside them, and all share what was verified."""

from __future__ import annotations

import pytest

from phase_boot.content.version import Version
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.sample_manifest import document, signed
from phase_boot.drill.sample_root import NEW_PUBLISHER, ROOT_1, ROOT_2
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State

MANIFEST = "stable/amd64/manifest.json"


def silent() -> FakeServer:
    server = good_server()
    server.hangs = True
    return server


def verified_at(scenario: Scenario) -> float:
    """Return when the manifest was verified, in seconds of the boot."""
    return float(scenario.of("manifest.verified")[0]["at"])


@pytest.mark.parametrize("count", [1, 4, 20])
def test_silent_candidates_do_not_delay_a_good_manifest(count: int) -> None:
    quiet = {f"silent{number}": silent() for number in range(count)}
    scenario = lan_scenario(**quiet, good=good_server())
    assert scenario.run() is State.TARGET
    assert verified_at(scenario) < 0.5
    assert scenario.of("manifest.verified")[0]["url"].startswith("http://good/")
    assert scenario.walk.end is State.TARGET


def test_a_silent_candidate_does_not_delay_the_url_of_the_policy() -> None:
    scenario = lan_scenario(silent=silent(), good=good_server())
    scenario.lan_urls.remove(scenario.fetcher.manifest_url("good"))
    scenario.platform.table["discovery"]["order"] = ["lan", "url"]
    scenario.platform.table["discovery"]["urls"] = [scenario.fetcher.manifest_url("good")]
    assert scenario.run() is State.TARGET
    assert verified_at(scenario) < 0.5
    finders = [event["finder"] for event in scenario.of("candidate.found")]
    assert finders == ["lan", "url"]


def test_after_a_first_answer_no_other_candidate_is_requested() -> None:
    other = good_server()
    scenario = lan_scenario(good=good_server(), other=other)
    assert scenario.run() is State.TARGET
    assert other.requests[MANIFEST] == 0


def test_after_a_typed_url_no_other_candidate_is_requested() -> None:
    slow, good = good_server(), good_server()
    slow.piece_seconds = 2.0
    scenario = lan_scenario(slow=slow, good=good)
    scenario.platform.url = scenario.fetcher.manifest_url("slow")
    assert scenario.run() is State.TARGET
    assert good.requests[MANIFEST] == 0
    assert scenario.of("manifest.verified")[0]["url"].startswith("http://slow/")


def test_of_two_answers_at_once_the_higher_version_is_booted() -> None:
    scenario = lan_scenario(
        silent=silent(),
        old=good_server(version="2025.11.12"),
        new=good_server(version="2025.11.13"),
    )
    assert scenario.run() is State.TARGET
    assert scenario.of("manifest.verified")[0]["version"] == "2025.11.13"


def test_no_version_is_booted_below_one_that_another_candidate_showed() -> None:
    """The older manifest arrives first, and is verified while the newer one is written down."""
    for delay in (0.0, 0.001, 0.01, 0.02, 0.05):
        old, new = good_server(version="2025.11.12"), good_server(version="2025.11.13")
        old.piece_seconds, new.piece_seconds = 0.01, delay
        scenario = lan_scenario(silent=silent(), old=old, new=new)
        assert scenario.run() is State.TARGET
        assert scenario.boot is not None
        booted = Version.parse(scenario.of("manifest.verified")[-1]["version"])
        highest = max(known.manifest.version for known in scenario.boot.seen.manifests)
        assert booted == highest


def test_a_manifest_is_verified_by_the_root_of_another_candidate() -> None:
    thief = good_server(version="2099.1")
    thief.piece_seconds = 0.4
    honest = good_server()
    honest.files["root/2.json"] = ROOT_2
    honest.files[MANIFEST] = signed(document(mirrors=[]), NEW_PUBLISHER)
    honest.piece_seconds = 0.5
    honest.quick = frozenset({"root/2.json"})
    scenario = lan_scenario(thief=thief, honest=honest)
    scenario.platform.trusting(ROOT_1)
    assert scenario.run() is State.TARGET
    assert [event["code"] for event in scenario.of("candidate.refused")] == ["signature.untrusted"]
    assert scenario.of("manifest.verified")[0]["keys"] == [NEW_PUBLISHER.keyid]


def test_a_root_that_two_candidates_bring_is_followed_once() -> None:
    servers = {}
    for name in ("one", "two", "three"):
        server = servers[name] = good_server()
        server.files["root/2.json"] = ROOT_2
        server.files[MANIFEST] = signed(document(mirrors=[]), NEW_PUBLISHER)
        server.piece_seconds = 0.35
    scenario = lan_scenario(**servers)
    scenario.platform.trusting(ROOT_1)
    assert scenario.run() is State.TARGET
    assert [event["version"] for event in scenario.of("root.followed")] == [2]
    assert scenario.walk.end is State.TARGET
