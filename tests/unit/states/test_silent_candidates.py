"""Silent candidates: others are asked beside them, and what each taught counts for all."""

from __future__ import annotations

import pytest

from phase_boot.content.version import Version
from phase_boot.drill.fake_mirrors import Site, good_site
from phase_boot.drill.sample_manifest import document, signed
from phase_boot.drill.sample_root import NEW_PUBLISHER, ROOT_1, ROOT_2
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.machine.graph import State

MANIFEST = "stable/amd64/manifest.json"


def silent() -> Site:
    site = good_site()
    site.hangs = True
    return site


def verified_at(play: Scenario) -> float:
    """Return when the manifest was verified, in seconds of the boot."""
    return float(play.of("manifest.verified")[0]["at"])


@pytest.mark.parametrize("count", [1, 4, 20])
def test_silent_neighbours_delay_no_manifest_of_a_good_one(count: int) -> None:
    quiet = {f"silent{number}": silent() for number in range(count)}
    play = scene(**quiet, good=good_site())
    assert play.play() is State.TARGET
    assert verified_at(play) < 0.5
    assert play.of("manifest.verified")[0]["url"].startswith("http://good/")
    assert play.walk.end is State.TARGET


def test_a_silent_neighbour_delays_no_url_of_the_policy() -> None:
    play = scene(silent=silent(), good=good_site())
    play.found.remove(play.sites.manifest_url("good"))
    play.platform.table["discovery"]["order"] = ["lan", "url"]
    play.platform.table["discovery"]["urls"] = [play.sites.manifest_url("good")]
    assert play.play() is State.TARGET
    assert verified_at(play) < 0.5
    origins = [event["origin"] for event in play.of("candidate.found")]
    assert origins == ["lan", "url"]


def test_a_neighbour_that_answers_is_alone_asked() -> None:
    other = good_site()
    play = scene(good=good_site(), other=other)
    assert play.play() is State.TARGET
    assert other.asked[MANIFEST] == 0


def test_beside_a_url_that_a_person_typed_nothing_else_is_asked() -> None:
    slow, good = good_site(), good_site()
    slow.piece_seconds = 2.0
    play = scene(slow=slow, good=good)
    play.platform.url = play.sites.manifest_url("slow")
    assert play.play() is State.TARGET
    assert good.asked[MANIFEST] == 0
    assert play.of("manifest.verified")[0]["url"].startswith("http://slow/")


def test_of_two_answers_at_once_the_higher_version_is_booted() -> None:
    play = scene(
        silent=silent(), old=good_site(version="2025.11.12"), new=good_site(version="2025.11.13")
    )
    assert play.play() is State.TARGET
    assert play.of("manifest.verified")[0]["version"] == "2025.11.13"


def test_no_version_is_booted_below_one_that_another_candidate_showed() -> None:
    """The older manifest arrives first, and is verified while the newer one is written down."""
    for delay in (0.0, 0.001, 0.01, 0.02, 0.05):
        old, new = good_site(version="2025.11.12"), good_site(version="2025.11.13")
        old.piece_seconds, new.piece_seconds = 0.01, delay
        play = scene(silent=silent(), old=old, new=new)
        assert play.play() is State.TARGET
        assert play.boot is not None
        booted = Version.parse(play.of("manifest.verified")[-1]["version"])
        highest = max(known.manifest.version for known in play.boot.seen.manifests)
        assert booted == highest


def test_an_answer_is_judged_by_the_root_that_another_candidate_brought() -> None:
    thief = good_site(version="2099.1")
    thief.piece_seconds = 0.4
    honest = good_site()
    honest.files["root/2.json"] = ROOT_2
    honest.files[MANIFEST] = signed(document(mirrors=[]), NEW_PUBLISHER)
    honest.piece_seconds = 0.5
    honest.quick = frozenset({"root/2.json"})
    play = scene(thief=thief, honest=honest)
    play.platform.trusting(ROOT_1)
    assert play.play() is State.TARGET
    assert [event["code"] for event in play.of("candidate.refused")] == ["signature.untrusted"]
    assert play.of("manifest.verified")[0]["keys"] == [NEW_PUBLISHER.keyid]


def test_a_root_that_two_candidates_bring_is_followed_once() -> None:
    sites = {}
    for name in ("one", "two", "three"):
        site = sites[name] = good_site()
        site.files["root/2.json"] = ROOT_2
        site.files[MANIFEST] = signed(document(mirrors=[]), NEW_PUBLISHER)
        site.piece_seconds = 0.35
    play = scene(**sites)
    play.platform.trusting(ROOT_1)
    assert play.play() is State.TARGET
    assert [event["version"] for event in play.of("root.followed")] == [2]
    assert play.walk.end is State.TARGET
