"""What is compiled into the seed."""

import tomllib
from pathlib import Path

import pytest

from image.recipe import Trusting
from image.steps import python, seed
from loader.entries import MENU
from policies.model import PolicyError, policy_from

ROOT = Path(__file__).parents[3]
KEY = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
"""RFC 8032, section 7.1, test 1."""


@pytest.mark.parametrize("mode", MENU)
def test_every_policy_takes_the_publisher_channel_and_url(mode: str) -> None:
    template = (ROOT / f"policies/{mode}.toml").read_text()
    trusting = Trusting(keys=(KEY,), channel="beta", urls=("http://192.0.2.1/m.json",))
    policy = policy_from(tomllib.loads(seed.compiled(template, trusting)))
    assert policy.mode == mode
    assert policy.trust.keys == {KEY}
    assert policy.channel == "beta"
    assert policy.discovery.urls == ("http://192.0.2.1/m.json",)


def test_a_threshold_that_cannot_be_met_stops_the_build() -> None:
    template = (ROOT / "policies/local.toml").read_text()
    with pytest.raises(PolicyError):
        seed.compiled(template, Trusting(keys=(KEY,), threshold=2))


def test_a_template_without_a_place_for_keys_stops_the_build() -> None:
    with pytest.raises(ValueError, match="0 lines of 'keys'"):
        seed.compiled('channel = "x"\nthreshold = 1\nurls = []\n', Trusting(keys=(KEY,)))


def test_entry_points_are_written_as_importlib_reads_them() -> None:
    points = {"entry-points": {"phase_boot.states": {"init": "states.init:HANDLER"}}}
    text = python.entry_points(points)
    assert text == "[phase_boot.states]\ninit = states.init:HANDLER\n"


def test_metadata_keeps_its_head_alone() -> None:
    text = "Metadata-Version: 2.4\nName: x\nVersion: 1\nRequires-Dist: y\n\nName: not this\n"
    assert python.head_of(text) == "Metadata-Version: 2.4\nName: x\nVersion: 1\n"


def test_the_launcher_reads_neither_environment_nor_site() -> None:
    assert seed.launcher("main").startswith("#!/usr/bin/python3 -IS\n")
