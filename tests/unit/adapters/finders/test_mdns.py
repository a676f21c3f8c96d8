"""The URLs that a valid or hostile announcement gives."""

from __future__ import annotations

import pytest

from phase_boot.adapters.finders.mdns import MAX_ADDRESSES, MAX_URL, manifest_urls
from phase_boot.content.arch import Arch
from phase_boot.ports.finder import DiscoveryQuery

QUEST = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=1, urls=())
PATH = "/stable/amd64/manifest.json"
SERVER = "Neighbour.local."


def urls(
    mirror: str | None, *addresses: str, server: str | None = SERVER, **fields: str
) -> list[str]:
    record = {"arch": "amd64", "channel": "stable", "mirror": mirror, **fields}
    return list(manifest_urls(record, server=server, addresses=addresses, query=QUEST))


def test_the_host_of_the_announced_url_resolves_to_the_announcers_addresses() -> None:
    found = urls(f"http://neighbour.local:8080{PATH}?a", "192.0.2.7", "2001:db8::7", "fe80::7%2")
    assert found == [f"http://192.0.2.7:8080{PATH}", f"http://[2001:db8::7]:8080{PATH}"]


def test_a_link_local_address_is_used_if_no_other_is_announced() -> None:
    assert urls(f"http://neighbour.local{PATH}", "fe80::7%2") == [f"http://[fe80::7%2]{PATH}"]


def test_a_mirror_with_another_host_is_used_unchanged() -> None:
    for mirror in (f"https://mirror.example{PATH}", f"http://[2001:db8::7]:8080{PATH}"):
        assert urls(mirror, "192.0.2.7") == [mirror]


def test_records_for_another_architecture_or_channel_are_ignored() -> None:
    mirror = f"https://mirror.example{PATH}"
    assert urls(mirror, channel="nightly") == []
    assert urls(mirror, arch="arm64") == []
    assert list(manifest_urls({}, server=SERVER, addresses=(), query=QUEST)) == []


@pytest.mark.parametrize("keys", [("ARCH", "Channel", "mIRROR"), ("arch", "channel", "MIRROR")])
def test_the_case_of_a_key_does_not_matter(keys: tuple[str, str, str]) -> None:
    mirror = f"https://mirror.example{PATH}"
    fields = dict(zip(keys, ("amd64", "stable", mirror), strict=True))
    assert list(manifest_urls(fields, server=SERVER, addresses=(), query=QUEST)) == [mirror]


def test_of_two_spellings_of_a_key_the_first_counts() -> None:
    first, second = f"https://first.example{PATH}", f"https://second.example{PATH}"
    assert urls(first, Mirror=second) == [first]


@pytest.mark.parametrize(
    "mirror",
    [
        None,
        "",
        "neighbour.local",
        f"ftp://mirror.example{PATH}",
        f"file://{PATH}",
        f"http://{PATH}",
        f"http://mirror.example:99999{PATH}",
        f"http://[::1{PATH}",
        f"http://mirror.example{PATH}\n",
        f"http://mirror.example/\x1b[2J{PATH}",
        f"http://mirror.éxample{PATH}",
        f"http://{'m' * MAX_URL}{PATH}",
        f"http://other.local{PATH}",
        f"http://user:word@neighbour.local{PATH}",
        f"http://neighbour.local{PATH}#x",
        f"http://neighbour.local:0{PATH}",
        f"http://127.0.0.1{PATH}",
        f"http://localhost{PATH}",
        f"http://169.254.169.254{PATH}",
        f"http://[fe80::1%2]{PATH}",
        f"http://[::ffff:127.0.0.1]{PATH}",
    ],
)
def test_a_record_without_a_valid_mirror_is_ignored(mirror: str | None) -> None:
    assert urls(mirror, "192.0.2.7") == []


def test_an_announced_address_of_this_machine_is_ignored() -> None:
    own = ("127.0.0.1", "::1", "0.0.0.0", "224.0.0.251")  # noqa: S104 - addresses that are judged
    assert urls(f"http://neighbour.local{PATH}", *own) == []
    assert urls(f"http://neighbour.local{PATH}", *own, "10.0.0.7") == [f"http://10.0.0.7{PATH}"]


def test_a_record_without_a_server_name_resolves_no_name() -> None:
    assert urls(f"http://neighbour.local{PATH}", "192.0.2.7", server=None) == []


def test_the_number_of_addresses_in_use_is_bounded() -> None:
    addresses = [f"192.0.2.{n % 256}" for n in range(1000)]
    assert len(urls(f"http://neighbour.local{PATH}", *addresses)) == MAX_ADDRESSES
