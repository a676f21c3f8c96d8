"""`phase-boot policy`: the trust options of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.drill.sample_root import ROOT_1
from phase_boot.trust.signatures import Trust
from policies.read import read_policy
from tests.support.manifests import SECOND
from tests.support.roots import first_root


def test_a_policy_with_a_root_is_one_the_daemon_takes_from_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "1.json").write_bytes(ROOT_1)
    monkeypatch.chdir(tmp_path)
    assert main(["policy", "--root", "site/1.json"]) == 0
    path = tmp_path / "site" / "policy.toml"
    path.write_text(capsys.readouterr().out)
    assert read_policy(path).trust == first_root()


def test_a_policy_with_two_keys_has_the_given_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["--key", PUBLISHER.keyid, "--key", SECOND.keyid]
    assert main(["policy", *keys, "--threshold", "2"]) == 0
    path = tmp_path / "policy.toml"
    path.write_text(capsys.readouterr().out)
    assert read_policy(path).trust == Trust(frozenset({PUBLISHER.keyid, SECOND.keyid}), 2)


def test_a_policy_names_the_given_gateways_and_refuses_invalid_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["policy", "--key", PUBLISHER.keyid, "--gateway"]
    assert main([*words, "https://gate.example/"]) == 0
    path = tmp_path / "policy.toml"
    path.write_text(capsys.readouterr().out)
    assert read_policy(path).discovery.gateways == ("https://gate.example",)
    assert main([*words, "gate.example"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "what stands before /ipfs" in output.err


@pytest.mark.parametrize(
    "words", [[], ["--key", PUBLISHER.keyid, "--root", "root.json"]], ids=["neither", "both"]
)
def test_a_policy_trusts_either_keys_or_a_root(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["policy", *words])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--root", "none.json"], "none.json cannot be read"),
        (["--root", __file__], "trust.root"),
        (["--root", "none.json", "--threshold", "1"], "omit the keys and --threshold"),
    ],
    ids=["missing", "no-root", "threshold"],
)
def test_a_root_that_is_of_no_use_makes_no_policy(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", *words]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert reason in output.err


@pytest.mark.parametrize("url", ["http://h:0/", "http://h:99999/", "http://u:p@h/", "http://h/#x"])
def test_a_policy_names_no_url_that_a_machine_would_refuse(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "--key", PUBLISHER.keyid, "--url", url]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert f"discovery.urls: {url!r} is no URL of a manifest: it" in output.err


def test_the_public_servers_are_visible_and_an_option_leaves_them_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["policy", "--key", PUBLISHER.keyid]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert main([*words, "--no-public"]) == 0
    without = capsys.readouterr().out
    assert "\n[public]\n" in shown
    assert "[public]" not in without
    assert without.count("[network]") == 1
