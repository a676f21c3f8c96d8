"""Which addresses that a peer names are dialled."""

from __future__ import annotations

import socket

import pytest

from phase_boot.content.multiaddr import Multiaddr
from phase_boot.libp2p_node.dialling import named
from phase_boot.url import Scope

PUBLIC = "/ip4/93.184.215.14/tcp/4001"
PRIVATE = "/ip4/10.200.3.4/tcp/4001"
LOOPBACK = "/ip4/127.0.0.1/tcp/4001"
METADATA = "/ip4/169.254.169.254/tcp/80"
NAME = "/dns4/node.example/tcp/4001"
WEB = "/dns4/node.example/tcp/443/tls/http"
EVERYTHING = [
    PUBLIC,
    PRIVATE,
    LOOPBACK,
    "/ip6/::1/tcp/4001",
    "/ip6/::ffff:127.0.0.1/tcp/4001",
    "/ip4/0.0.0.0/tcp/4001",
    METADATA,
    "/ip6/fe80::1/tcp/4001",
    "/ip4/224.0.0.1/tcp/4001",
    NAME,
    WEB,
]


@pytest.mark.parametrize(
    ("nearest", "dialled"),
    [
        (Scope.PUBLIC, ["93.184.215.14"]),
        (Scope.PRIVATE, ["93.184.215.14", "10.200.3.4"]),
        (Scope.LINK, ["93.184.215.14", "10.200.3.4"]),
        (Scope.RESERVED, []),
    ],
)
def test_a_peer_leads_to_no_address_that_is_nearer_than_its_own(
    nearest: Scope, dialled: list[str]
) -> None:
    addresses = [Multiaddr.parse(text) for text in EVERYTHING]
    assert [host for host, _ in named(addresses, nearest)] == dialled


def test_a_peer_on_this_machine_leads_to_others_on_it() -> None:
    addresses = [Multiaddr.parse(text) for text in (LOOPBACK, METADATA, NAME, LOOPBACK)]
    assert named(addresses, Scope.OWN) == (("127.0.0.1", 4001),)


def test_a_mapped_address_is_dialled_as_the_address_that_the_kernel_connects_to() -> None:
    addresses = [Multiaddr.parse(text) for text in ("/ip6/::ffff:93.184.215.14/tcp/4001", PUBLIC)]
    assert named(addresses, Scope.PUBLIC) == (("93.184.215.14", 4001),)


def test_no_form_of_this_machines_own_address_is_dialled_for_a_peer_elsewhere() -> None:
    own = _address_of_this_machine()
    forms = (f"/ip4/{own}/tcp/22", f"/ip6/::ffff:{own}/tcp/22")
    for form in forms:
        assert named([Multiaddr.parse(form)], Scope.PRIVATE) == ()


def _address_of_this_machine() -> str:
    """Return the address from which this machine sends to others; skip without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("93.184.215.14", 9))
        except OSError:
            pytest.skip("this machine has no route to others")
        return str(probe.getsockname()[0])
