"""Policies: an unknown or invalid key refuses the whole file."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from phase_boot.drill.fakes import policy_table
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY
from phase_boot.drill.sample_root import ROOT_1, root_document, signed_root
from phase_boot.trust.signatures import Trust
from policies.model import Mode, Policy, PolicyError, policy_from
from policies.read import MAX_BYTES, read_policy
from policies.servers import NO_SERVERS, Servers
from policies.write import ROOT_NAME, SHIPPED, RootFile, SourceUrls, StaticKeys, render_policy
from tests.support.manifests import SECOND
from tests.support.roots import first_root

URL = "http://192.0.2.1/m.json"
PEER = "12D3KooWN23oVDV3Bm7JjRyG2fq5VQBwMxqGEcm7QyWwSRNpXYdv"
BOOTSTRAP = f"/dns4/node.example/tcp/4001/p2p/{PEER}"


@pytest.mark.parametrize("mode", list(Mode))
def test_the_shipped_policies_are_valid_with_a_trusted_key(mode: Mode, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        render_policy(
            mode,
            trust=StaticKeys((PUBLISHER.keyid,)),
            channel="lab",
            sources=SourceUrls(urls=(URL,)),
        )
    )
    policy = read_policy(path)
    assert (policy.mode, policy.channel) == (mode, "lab")
    assert policy.discovery.urls == (URL,)
    assert policy.cache_enabled is (mode is not Mode.PRIVATE)
    assert ("url" in policy.discovery.order) is (mode is not Mode.LOCAL)
    assert not policy.shell.root


@pytest.mark.parametrize("mode", list(Mode))
def test_a_shipped_policy_has_no_trusted_key(mode: Mode) -> None:
    with pytest.raises(PolicyError, match="at least one key"):
        read_policy(SHIPPED / f"{mode}.toml")


def test_a_site_that_would_be_refused_at_boot_is_refused_when_it_is_built() -> None:
    with pytest.raises(PolicyError, match="threshold"):
        render_policy(Mode.INTERNET, trust=StaticKeys((PUBLISHER.keyid,), 2), channel="stable")


@pytest.mark.parametrize("mode", list(Mode))
def test_a_policy_with_a_root_follows_the_file_beside_it(mode: Mode, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        render_policy(
            mode, trust=RootFile(ROOT_1), channel="stable", sources=SourceUrls(urls=(URL,))
        )
    )
    (tmp_path / ROOT_NAME).write_bytes(ROOT_1)
    policy = read_policy(path)
    assert policy.trust == first_root()
    assert (policy.mode, policy.discovery.urls) == (mode, (URL,))
    (tmp_path / ROOT_NAME).unlink()
    with pytest.raises(PolicyError, match=r"trust\.root"):
        read_policy(path)


def test_a_policy_with_a_root_has_no_fixed_keys() -> None:
    text = render_policy(Mode.INTERNET, trust=RootFile(ROOT_1), channel="stable")
    trust = text.partition("[trust]\n")[2].partition("\n[")[0].strip().splitlines()
    assert len(trust) == 1
    assert trust[0].startswith('root = "root.json"')
    assert max(map(len, text.splitlines())) <= 100


def test_a_name_that_needs_quoting_is_read_back_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / 'a "root" \\ of\ttrust.json'
    root.write_bytes(ROOT_1)
    path = tmp_path / "policy.toml"
    whom = RootFile.at(root, str(root))
    path.write_text(render_policy(Mode.LOCAL, trust=whom, channel="stable"))
    assert read_policy(path).trust == first_root()


@pytest.mark.parametrize(
    ("content", "channel", "reason"),
    [
        (ROOT_1, "nightly", "root 1 names no publisher of nightly, only of stable"),
        (signed_root(root_document(), UNTRUSTED_KEY), "stable", "carries 0 of the 1 signatures"),
        (b"{}", "stable", "trust.root"),
        (b"\0" * (MAX_BYTES + 1), "stable", "trust.root"),
    ],
    ids=["no-publisher", "not-its-own", "no-root", "huge"],
)
def test_a_root_that_would_boot_nothing_is_refused_when_it_is_built(
    content: bytes, channel: str, reason: str
) -> None:
    with pytest.raises(PolicyError, match=reason):
        render_policy(Mode.INTERNET, trust=RootFile(content), channel=channel)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("surprise",), 1, "surprise: unknown"),
        (("trust", "surprise"), 1, "trust.surprise: unknown"),
        (("mode",), "anything", "'anything' is no mode"),
        (("channel",), "UPPER", "no channel"),
        (("channel",), "a" * 33, "no channel"),
        (("cache_enabled",), "yes", "not true or false"),
        (("min_version",), "one", "min_version"),
        (("trust", "keys"), ["ed25519:12"], "trust"),
        (("trust", "keys"), [1], "not a string"),
        (("trust", "keys"), [PUBLISHER.keyid] * 2, "stands there twice"),
        (("trust", "threshold"), 0, "0 is below 1"),
        (("trust", "threshold"), True, "not a whole number"),
        (("trust", "threshold"), 2, "threshold is 2"),
        (("discovery", "order"), [], "at least one"),
        (("discovery", "order"), ["lan", "lan"], "at most once"),
        (("discovery", "order"), ["moon"], "use each of lan, wan, url, cache"),
        (("allow_tor",), True, "allow_tor: .* does not use Tor yet; set it to false"),
        (("allow_tor",), 0, "not true or false"),
        (("discovery", "gateways"), "http://gate", "not an array"),
        (("discovery", "gateways"), [1], "not a string"),
        (("discovery", "gateways"), ["gate.example"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["ftp://gate"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://who:secret@gate"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://gate?format=raw"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://gate/a?b"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://gate/a#b"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://gate/a b"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://gate/\n"], "no base URL of a gateway"),
        (("discovery", "gateways"), ["http://gate/ipfs/"], "what stands before /ipfs"),
        (("discovery", "gateways"), [f"http://g{n}" for n in range(17)], "name 16 at most"),
        (("discovery", "bootstrap"), ["node.example"], "no address of a peer"),
        (("discovery", "bootstrap"), ["/ip4/192.0.2.7/tcp/4001"], "write one like"),
        (("discovery", "bootstrap"), [f"/dns4/node/tcp/443/tls/http/p2p/{PEER}"], "write one"),
        (("discovery", "bootstrap"), [f"/dnsaddr/node.example/p2p/{PEER}"], "no protocol of"),
        (
            ("discovery", "bootstrap"),
            [f"/ip4/192.0.2.7/tcp/{n}/p2p/{PEER}" for n in range(1, 34)],
            "name 32 at most",
        ),
        (("discovery", "dht_delay_seconds"), -0.1, "not from 0 to 60"),
        (("discovery", "dht_delay_seconds"), 61, "not from 0 to 60"),
        (("discovery", "dht_delay_seconds"), 10**999, "not from 0 to 60"),
        (("discovery", "dht_delay_seconds"), float("nan"), "not from 0 to 60"),
        (("discovery", "dht_delay_seconds"), True, "not a number"),
        (("discovery", "dht_delay_seconds"), "0", "not a number"),
        (("discovery", "routers"), ["router.example"], "no base URL of a router"),
        (("discovery", "routers"), ["http://router/routing/v1"], "what stands before /routing/v1"),
        (("discovery", "routers"), [f"http://r{n}" for n in range(9)], "name 8 at most"),
        (("limits", "attempts"), 0, "0 is below 1"),
        (("limits",), [], "not a table"),
        (("shell", "root"), 1, "shell.root: 1 is not true or false"),
        (("shell", "surprise"), True, "shell.surprise: unknown"),
    ],
)
def test_an_invalid_policy_is_refused_and_the_key_named(
    path: tuple[str, ...], value: object, reason: str
) -> None:
    table = deepcopy(policy_table())
    place: dict[str, Any] = table
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(PolicyError, match=reason):
        policy_from(table)


@pytest.mark.parametrize("key", sorted(policy_table()))
def test_a_missing_key_is_refused_and_named(key: str) -> None:
    table = policy_table()
    del table[key]
    with pytest.raises(PolicyError, match=f"{key}: missing"):
        policy_from(table)


@pytest.mark.parametrize("key", sorted(policy_table()["discovery"]))
def test_a_missing_key_of_the_discovery_is_refused_and_named(key: str) -> None:
    table = deepcopy(policy_table())
    del table["discovery"][key]
    with pytest.raises(PolicyError, match=rf"discovery\.{key}: missing"):
        policy_from(table)


def test_local_mode_with_a_search_beyond_the_lan_is_refused() -> None:
    table = policy_table(mode="local", network={"wait_seconds": 20, "reach": "lan"})
    table["discovery"] = {**table["discovery"], "order": ["lan", "wan"]}
    with pytest.raises(PolicyError, match="Local mode never leaves the LAN"):
        policy_from(table)


def test_gateways_are_read_without_the_slash_at_their_ends_and_once_each() -> None:
    table = deepcopy(policy_table())
    table["discovery"]["gateways"] = [
        "http://[fd00::1]:8080/",
        "https://gate/at",
        "https://gate/at/",
    ]
    assert policy_from(table).discovery.gateways == ("http://[fd00::1]:8080", "https://gate/at")


@pytest.mark.parametrize("mode", list(Mode))
def test_the_shipped_policies_name_no_router_and_no_gateway_and_a_site_may(
    mode: Mode, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    for servers in ((), ("https://server.example",)):
        whom = StaticKeys((PUBLISHER.keyid,))
        places = SourceUrls(routers=servers, gateways=servers)
        path.write_text(render_policy(mode, trust=whom, channel="stable", sources=places))
        rules = read_policy(path).discovery
        assert (rules.routers, rules.gateways) == (servers, servers)


def test_private_mode_with_a_cache_is_refused() -> None:
    with pytest.raises(PolicyError, match="Private mode never writes the cache"):
        policy_from(policy_table(mode="private"))


def test_two_keys_and_a_threshold_of_two_are_read() -> None:
    keys = [PUBLISHER.keyid, SECOND.keyid]
    policy = policy_from(policy_table(trust={"keys": keys, "threshold": 2}))
    assert policy.trust == Trust(frozenset(keys), 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"mode = ", "is no TOML"), (b"\xff", "is no TOML"), (b"#" * (MAX_BYTES + 1), "larger than")],
    ids=["broken", "not-utf8", "huge"],
)
def test_a_file_that_is_no_policy_is_refused_and_named(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=reason) as caught:
        read_policy(path)
    assert str(path) in str(caught.value)


def test_a_policy_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mode": "local", "network": {"wait_seconds": 1, "reach": "internet"}}, "network.reach"),
        ({"cache_enabled": False, "discovery": "cache"}, "discovery.order"),
        ({"network": {"wait_seconds": 1, "reach": "far"}}, "network.reach"),
    ],
)
def test_a_policy_that_breaks_the_promise_of_its_mode_is_refused(
    changes: dict[str, Any], named: str
) -> None:
    table = policy_table(**changes)
    if isinstance(table["discovery"], str):
        table["discovery"] = policy_table()["discovery"] | {"order": ["lan", table["discovery"]]}
    with pytest.raises(PolicyError, match=named):
        policy_from(table)


def whole(**changes: list[str]) -> dict[str, list[str]]:
    return {"routers": [], "gateways": [], "bootstrap": []} | changes


def rendered(mode: Mode, tmp_path: Path, **sources: Any) -> Policy:
    path = tmp_path / "policy.toml"
    whom = StaticKeys((PUBLISHER.keyid,))
    text = render_policy(mode, trust=whom, channel="stable", sources=SourceUrls(**sources))
    path.write_text(text)
    return read_policy(path)


def test_internet_alone_has_public_servers_and_only_for_an_announced_release(
    tmp_path: Path,
) -> None:
    own = {"routers": ("http://router",), "gateways": ("http://gate",), "bootstrap": (BOOTSTRAP,)}
    policy = rendered(Mode.INTERNET, tmp_path, **own)
    assert len(policy.public.routers) >= 2
    assert len(policy.public.gateways) >= 2
    assert len(policy.public.bootstrap) >= 2
    assert policy.servers(announced=False) == Servers(**own)
    assert policy.servers(announced=True) == Servers(**own).joined(policy.public)
    for mode in (Mode.LOCAL, Mode.PRIVATE):
        policy = rendered(mode, tmp_path, **own)
        assert policy.servers(announced=True) == Servers(**own)


def test_public_servers_can_be_left_out_and_removed_by_hand(tmp_path: Path) -> None:
    assert rendered(Mode.INTERNET, tmp_path, public=False).public == NO_SERVERS
    table = policy_table()
    table.pop("public", None)
    assert policy_from(table).public == NO_SERVERS


@pytest.mark.parametrize("mode", ["local", "private"])
def test_a_mode_that_promises_more_refuses_public_servers(mode: str) -> None:
    table = policy_table() | {"mode": mode, "cache_enabled": mode == "local"}
    table["discovery"] = table["discovery"] | {"order": ["lan"]}
    table["network"] = table["network"] | {"reach": "lan"}
    table["public"] = {"routers": [], "gateways": [], "bootstrap": [BOOTSTRAP]}
    with pytest.raises(PolicyError, match="only Internet mode asks public servers"):
        policy_from(table)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"routers": [], "gateways": []}, "public.bootstrap: missing"),
        (whole(more=[]), "public.more: unknown"),
        (whole(routers=["router.example"]), "public.routers"),
        (whole(gateways=["https://g.example/ipfs"]), "public.gateways"),
        (whole(bootstrap=["node.example"]), "public.bootstrap"),
    ],
)
def test_a_table_of_public_servers_is_whole_or_refused(table: dict[str, Any], reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        policy_from(policy_table() | {"public": table})
