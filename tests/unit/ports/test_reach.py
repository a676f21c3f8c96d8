"""The networks that a snapshot of the links reaches."""

from __future__ import annotations

import pytest

from phase_boot.ports.network import Link, link_towards, reach_of

WIRED = Link("eth0", ("192.0.2.9/24",), gateways=("192.0.2.1",))
SIXTH = Link("eth1", ("2001:db8::9/64", "fe80::9/64"))


def test_another_address_of_a_known_network_adds_no_reach() -> None:
    more = Link("eth0", ("192.0.2.9/24", "192.0.2.10/24"), gateways=("192.0.2.1",))
    assert reach_of([more]) == reach_of([WIRED])


@pytest.mark.parametrize(
    "link",
    [
        Link("eth1", ("192.0.2.9/24",), gateways=("192.0.2.1",)),
        Link("eth0", ("198.51.100.9/24",), gateways=("192.0.2.1",)),
        Link("eth0", ("192.0.2.9/24",), gateways=("192.0.2.2",)),
        Link("eth0", ("192.0.2.9/24", "2001:db8::9/64"), gateways=("192.0.2.1",)),
    ],
)
def test_another_interface_network_gateway_or_family_adds_reach(link: Link) -> None:
    assert reach_of([link]) - reach_of([WIRED])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.77", WIRED),
        ("[2001:db8::1]", SIXTH),
        ("[fe80::1%eth1]", SIXTH),
        ("203.0.113.7", WIRED),
        ("mirror.example", WIRED),
        ("", WIRED),
    ],
)
def test_a_host_is_reached_by_the_link_of_its_network_or_by_a_gateway(
    host: str, expected: Link
) -> None:
    assert link_towards(host, [SIXTH, WIRED]) == expected


def test_a_link_with_invalid_addresses_is_ignored() -> None:
    broken = Link("eth0", ("\x1b[2J", ""))
    assert link_towards("192.0.2.77", [broken, WIRED]) == WIRED
    assert reach_of([broken]) == {("eth0", "\x1b[2J"), ("eth0", "")}
    assert link_towards("192.0.2.77", []) is None
