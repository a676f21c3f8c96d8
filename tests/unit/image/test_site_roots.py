"""The roots that a stick trusts and that its SITE publishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.cli import main
from image.lab.provider_process import expected_manifest
from image.site_roots import copy_roots, updated_chain
from image.trust_config import TrustConfig, policy_files
from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY, document, signed
from phase_boot.drill.sample_root import (
    NEW_PUBLISHER,
    ROOT_1,
    ROOT_2,
    channel,
    root_document,
    signed_root,
)
from phase_boot.publish.errors import PublishError
from phase_boot.trust.refusals import RootNotByPrevious, UntrustedSigner
from phase_boot.trust.signatures import Trust
from policies.model import Mode, PolicyError
from policies.read import read_policy
from policies.write import RootFile
from tests.support.roots import first_root

FAR = "9000-01-01T00:00:00Z"


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """Return a folder with two roots, the draft of a third, and a private key beside them."""
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "1.json").write_bytes(ROOT_1)
    (folder / "2.json").write_bytes(ROOT_2)
    (folder / "3.draft.json").write_bytes(ROOT_2)
    (folder / "root.key").write_bytes(b"secret")
    return folder


def handed_out(site: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (site / "root").iterdir()}


def test_a_site_publishes_the_roots_of_a_folder_and_no_other_file(
    roots: Path, tmp_path: Path
) -> None:
    copy_roots(roots / "1.json", tmp_path / "site")
    assert handed_out(tmp_path / "site") == {"1.json": ROOT_1, "2.json": ROOT_2}
    copy_roots(roots / "1.json", tmp_path / "site")
    assert handed_out(tmp_path / "site") == {"1.json": ROOT_1, "2.json": ROOT_2}


def test_roots_of_another_chain_leave_the_site(roots: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    copy_roots(roots / "1.json", site)
    (roots / "2.json").unlink()
    copy_roots(roots / "1.json", site)
    assert handed_out(site) == {"1.json": ROOT_1}


def test_a_root_is_stored_under_its_number(roots: Path, tmp_path: Path) -> None:
    given = tmp_path / "elsewhere" / "root.json"
    given.parent.mkdir()
    given.write_bytes(ROOT_1)
    copy_roots(given, tmp_path / "site")
    assert handed_out(tmp_path / "site") == {"1.json": ROOT_1}
    assert updated_chain(given, roots.parent / "none").newest == first_root()


def test_the_roots_of_the_site_itself_stay_as_they_are(roots: Path, tmp_path: Path) -> None:
    roots.rename(tmp_path / "root")
    before = handed_out(tmp_path)
    copy_roots(tmp_path / "root" / "1.json", tmp_path)
    assert handed_out(tmp_path) == before


def test_an_invalid_root_is_not_published(roots: Path, tmp_path: Path) -> None:
    (roots / "2.json").write_bytes(signed_root(root_document(2), UNTRUSTED_KEY))
    with pytest.raises(PublishError, match=r"2\.json is not followed"):
        copy_roots(roots / "1.json", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_stick_with_the_first_root_trusts_the_publishers_of_the_newest(
    roots: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    copy_roots(roots / "1.json", site)
    chain = updated_chain(roots / "1.json", site)
    assert chain.version == 2
    assert chain.trusts("stable") == Trust(frozenset({NEW_PUBLISHER.keyid}), 1)
    (site / "root" / "2.json").write_bytes(signed_root(root_document(2), UNTRUSTED_KEY))
    with pytest.raises(RootNotByPrevious):
        updated_chain(roots / "1.json", site)


def test_the_expected_manifest_is_signed_by_a_publisher_of_the_newest_root(tmp_path: Path) -> None:
    roots, manifest = tmp_path / "root", tmp_path / "stable/amd64/manifest.json"
    roots.mkdir()
    manifest.parent.mkdir(parents=True)
    names = {"stable": channel(expires=FAR)}
    (roots / "1.json").write_bytes(signed_root(root_document(channels=names)))
    manifest.write_bytes(signed(document(expires=FAR), PUBLISHER))
    assert (
        str(expected_manifest(tmp_path, Arch.AMD64, "stable", roots / "1.json").version)
        == "2025.11.12"
    )

    renamed = {"stable": channel(NEW_PUBLISHER, expires=FAR)}
    (roots / "2.json").write_bytes(signed_root(root_document(2, channels=renamed)))
    with pytest.raises(UntrustedSigner):
        expected_manifest(tmp_path, Arch.AMD64, "stable", roots / "1.json")
    manifest.write_bytes(signed(document(expires=FAR), NEW_PUBLISHER))
    assert expected_manifest(tmp_path, Arch.AMD64, "stable", roots / "1.json")


def test_a_seed_has_the_root_that_its_policies_name(tmp_path: Path) -> None:
    files = policy_files(TrustConfig(publishers=RootFile(ROOT_1), channel="stable"))
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    assert (tmp_path / "root.json").read_bytes() == ROOT_1
    for mode in Mode:
        policy = read_policy(tmp_path / f"{mode}.toml")
        assert (policy.mode, policy.trust) == (mode, first_root())


def test_a_seed_for_a_channel_without_publishers_is_not_built() -> None:
    with pytest.raises(PolicyError, match="no publisher of nightly"):
        policy_files(TrustConfig(publishers=RootFile(ROOT_1), channel="nightly"))


def test_the_root_is_part_of_the_identity_of_a_seed() -> None:
    first, second = (TrustConfig(publishers=RootFile(root)) for root in (ROOT_1, ROOT_1 + b"\n"))
    assert repr(first) != repr(second)
    assert repr(first) == repr(TrustConfig(publishers=RootFile(ROOT_1)))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--root", "none.json"], "none.json cannot be read"),
        (["--root", __file__], "trust.root"),
        (["--root", "none.json", "--threshold", "2"], "omit the keys and --threshold"),
        (["--key", "somebody"], "key id"),
    ],
    ids=["missing", "no-root", "threshold", "no-key"],
)
def test_invalid_trust_is_refused_before_the_build(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--arch", "amd64", *words]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert reason in output.err
