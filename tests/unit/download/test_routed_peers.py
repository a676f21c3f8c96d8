"""Peers of libp2p in the replies of routers, and the scopes that bound whom they may name."""

from __future__ import annotations

import json

import pytest

from phase_boot.download.peer_search import nearest_of
from phase_boot.download.routed_peers import nearest_to, peers_in
from phase_boot.ports.block_exchange import BlockPeer
from phase_boot.url import Scope

PEER = "12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"
TCP = "/ip4/192.0.2.7/tcp/4001"


def reply(*records: object) -> bytes:
    return json.dumps({"Providers": records}).encode()


def test_a_peer_has_the_addresses_that_are_dialled() -> None:
    addresses = [TCP, "/ip4/192.0.2.7/udp/4001/quic-v1", "/dns4/host.example/tcp/443/tls/http", 7]
    found = peers_in(reply({"Schema": "peer", "ID": PEER, "Addrs": addresses}), Scope.PUBLIC)
    assert list(found) == [BlockPeer(PEER, (TCP,), Scope.PUBLIC)]


@pytest.mark.parametrize(
    "record",
    [{}, {"ID": PEER}, {"ID": 7, "Addrs": [TCP]}, {"ID": "x" * 99, "Addrs": [TCP]}, "peer", None],
)
def test_a_record_that_names_no_peer_is_left_out(record: object) -> None:
    assert list(peers_in(reply(record), Scope.PUBLIC)) == []


@pytest.mark.parametrize(
    ("router", "nearest"),
    [
        ("https://router.example", Scope.PUBLIC),
        ("https://8.8.8.8", Scope.PUBLIC),
        ("http://10.0.0.7", Scope.PRIVATE),
        ("http://127.0.0.1:8080", Scope.OWN),
        ("no url", Scope.PUBLIC),
    ],
)
def test_a_router_names_nothing_nearer_than_itself(router: str, nearest: Scope) -> None:
    assert nearest_to(router) is nearest


@pytest.mark.parametrize(
    ("bootstrap", "nearest"),
    [
        ([], Scope.PUBLIC),
        (["/ip4/8.8.8.8/tcp/4001"], Scope.PUBLIC),
        (["/dns4/peer.example/tcp/4001"], Scope.PUBLIC),
        (["/ip4/8.8.8.8/tcp/4001", "/ip4/10.0.0.8/tcp/4001"], Scope.PRIVATE),
        (["no address"], Scope.PUBLIC),
    ],
)
def test_the_peers_of_the_policy_say_which_network_is_used(
    bootstrap: list[str], nearest: Scope
) -> None:
    assert nearest_of(bootstrap) is nearest
