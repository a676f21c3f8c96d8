"""The generated files of the seed."""

import re
from pathlib import Path

import pytest

from image.cli import parser
from image.lab.certificates import authority, certificate
from image.recipe import SEED_FILES, Recipe
from image.steps import python
from image.steps.certificates import read_authorities
from image.trust_config import TrustConfig, policy_files
from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import PUBLISHER
from policies.model import Shell
from policies.read import parse_policy
from policies.write import StaticKeys


def test_entry_points_are_written_as_importlib_reads_them() -> None:
    points = {"entry-points": {"phase_boot.states": {"init": "states.init:HANDLER"}}}
    text = python.entry_points(points)
    assert text == "[phase_boot.states]\ninit = states.init:HANDLER\n"


def test_metadata_keeps_its_head_alone() -> None:
    text = "Metadata-Version: 2.4\nName: x\nVersion: 1\nRequires-Dist: y\n\nName: not this\n"
    assert python.metadata_head(text) == "Metadata-Version: 2.4\nName: x\nVersion: 1\n"


def test_the_launcher_reads_neither_environment_nor_site() -> None:
    assert python.launcher("main").startswith("#!/usr/bin/python3 -IS\n")


def test_of_a_file_of_authorities_nothing_but_their_certificates_is_kept(tmp_path: Path) -> None:
    pem = authority(tmp_path).read_text()
    file = tmp_path / "mine.pem"
    file.write_text("Subject: mine\n" + (tmp_path / "authority.key").read_text() + pem)
    assert read_authorities([file, authority(tmp_path)]) == pem + pem
    assert read_authorities([]) == ""


def test_a_file_without_an_authority_is_refused(tmp_path: Path) -> None:
    authority(tmp_path)
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for path in (tmp_path / "absent.pem", tmp_path / "authority.key", damaged):
        with pytest.raises(ValueError, match="holds no certificates"):
            read_authorities([path])
    server = certificate(tmp_path, "mirror.phase.example").chain
    with pytest.raises(ValueError, match="not an authority's"):
        read_authorities([server])


@pytest.mark.parametrize("allowed", [False, True])
def test_a_root_shell_is_present_only_by_the_option_of_the_builder(allowed: bool) -> None:  # noqa: FBT001 - a case
    whom = StaticKeys((PUBLISHER.keyid,))
    files = policy_files(TrustConfig(publishers=whom, shell=Shell(root=allowed, unattended=True)))
    for text in files.values():
        assert parse_policy(text.encode(), read=whom.read).shell.root is allowed


@pytest.mark.parametrize("unattended", [False, True])
def test_the_builders_option_decides_whether_a_stick_retries_unattended(
    unattended: bool,  # noqa: FBT001 - a case
) -> None:
    whom = StaticKeys((PUBLISHER.keyid,))
    config = TrustConfig(publishers=whom, shell=Shell(root=False, unattended=unattended))
    for text in policy_files(config).values():
        assert parse_policy(text.encode(), read=whom.read).shell.unattended is unattended
    command = ["build", "--arch", "amd64", "--key", PUBLISHER.keyid]
    assert parser().parse_args([*command, "--attended"]).attended
    assert not parser().parse_args(command).attended


def test_only_a_stick_for_benchmarks_has_the_unverified_download_script() -> None:
    script = "root/usr/lib/phase-boot/reference.sh"
    holding = [
        measured
        for measured in (False, True)
        if any(
            (f / script).exists() for f in Recipe(arch=Arch.AMD64, measured=measured).seed_sources
        )
    ]
    assert holding == [True]


def test_no_kernel_parameter_opens_a_shell_before_the_daemon() -> None:
    """What a loader entry says can choose a mode and a URL; nothing there loosens a policy."""
    init = (SEED_FILES / "init").read_text()
    # The one names the Seed partition that belongs to the entry; no other one is taken.
    assert set(re.findall(r"phase\.\w+", init)) == {"phase.reference", "phase.seed"}
    assert not re.search(r"exec [^\n]*\bsh\b", init)
