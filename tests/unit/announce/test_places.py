"""The places that a record names are those of the manifests that machines accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.announce.places import Places, find_places
from phase_boot.announce.site_record import site_chain
from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, Codec
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY, document, signed
from phase_boot.trust.announcement import MAX_MIRRORS
from phase_boot.trust.refusals import Expired, UntrustedSigner
from tests.support.announced_site import STABLE, add_manifest, make_announced_site, terms
from tests.support.ipns_records import PROVIDER

BASES = ("https://one.example/os", "https://two.example")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_announced_site(tmp_path)


def places(site: Path, *, mirrors: tuple[str, ...] = (), providers: tuple[str, ...] = ()) -> Places:
    chain = site_chain(site)
    return find_places(site, chain, terms().now, mirrors=mirrors, providers=providers)


def test_a_place_has_the_cid_of_the_bytes_of_its_manifest(site: Path) -> None:
    raw = (site / "stable/amd64/manifest.json").read_bytes()
    assert places(site).found[STABLE].manifest_cid == Cid.of(Codec.RAW, raw)


def test_the_mirrors_are_those_of_the_manifest(site: Path) -> None:
    add_manifest(site, mirrors=[*BASES, BASES[0]])
    assert places(site).found[STABLE].mirrors == (
        "https://one.example/os/stable/amd64/manifest.json",
        "https://two.example/stable/amd64/manifest.json",
    )


def test_given_mirrors_and_providers_replace_them_and_count_once(site: Path) -> None:
    given = ("https://new.example/", "https://new.example")
    place = places(site, mirrors=given, providers=(PROVIDER, PROVIDER)).found[STABLE]
    assert place.mirrors == ("https://new.example/stable/amd64/manifest.json",)
    assert place.providers == (PROVIDER,)


def test_of_many_long_or_local_mirrors_the_first_that_machines_take_are_announced(
    site: Path,
) -> None:
    long = f"https://mirror.example/{'x' * 480}"
    own = "http://127.0.0.1:8070"
    many = [long, own, *(f"https://m{number}.example" for number in range(12))]
    add_manifest(site, mirrors=many)
    found = places(site).found[STABLE].mirrors
    assert found == tuple(f"{url}/stable/amd64/manifest.json" for url in many[2 : MAX_MIRRORS + 2])


def test_each_channel_and_architecture_is_a_place_in_order(site: Path) -> None:
    add_manifest(site, "stable", Arch.ARM64)
    add_manifest(site, "beta")
    assert list(places(site).found) == [("beta", Arch.AMD64), STABLE, ("stable", Arch.ARM64)]


def test_a_manifest_that_machines_refuse_is_named_and_the_others_are_announced(site: Path) -> None:
    add_manifest(site, "beta", expires="2025-11-13T00:00:00Z")
    path = add_manifest(site, "beta", Arch.ARM64)
    path.write_bytes(signed(document(channel="beta", arch="arm64"), UNTRUSTED_KEY))
    found = places(site)
    assert list(found.found) == [STABLE]
    assert set(found.refused) == {"beta/amd64/manifest.json", "beta/arm64/manifest.json"}
    assert found.refused["beta/amd64/manifest.json"].startswith(Expired.sentence[:12])
    assert UntrustedSigner.sentence[:4] in found.refused["beta/arm64/manifest.json"]


def test_a_manifest_in_the_folder_of_another_channel_is_refused(site: Path) -> None:
    path = add_manifest(site, "beta")
    path.write_bytes((site / "stable/amd64/manifest.json").read_bytes())
    assert set(places(site).refused) == {"beta/amd64/manifest.json"}
