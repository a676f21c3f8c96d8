"""What the URL of a manifest says of a download without a policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.app.prefetch_plan import InvalidRequest, PrefetchRequest, plan_of
from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import PUBLISHER

KEY = PUBLISHER.keyid


def test_the_path_of_a_manifest_names_the_channel_without_a_policy(tmp_path: Path) -> None:
    url = "http://mirror.example/os/beta/arm64/manifest.json"
    plan = plan_of(PrefetchRequest(url=url, store=tmp_path, keys=(KEY,)))
    assert (plan.place, plan.policy.channel) == ("http://mirror.example/os", "beta")
    assert plan.arch is Arch.ARM64


def test_a_folder_has_the_channel_of_the_command_line(tmp_path: Path) -> None:
    url = "http://mirror.example/os"
    plan = plan_of(PrefetchRequest(url=url, store=tmp_path, keys=(KEY,), channel="beta"))
    assert plan.policy.channel == "beta"


def test_a_policy_of_another_channel_is_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text((Path(__file__).parents[3] / "policies/internet.toml").read_text())
    url = "http://mirror.example/os/beta/arm64/manifest.json"
    with pytest.raises(InvalidRequest):
        plan_of(PrefetchRequest(url=url, store=tmp_path, policy=policy))
