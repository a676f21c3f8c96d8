from __future__ import annotations

import pytest

from phase_boot.provider.addresses import UNKNOWN, ClientAddress, client_address


@pytest.mark.parametrize(
    ("address", "network", "host"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2:3:4:5:6"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64", "2001:db8:1:2::1"),
        ("fe80::1%eth0", "fe80::/64", "fe80::1"),
        ("", UNKNOWN, UNKNOWN),
        ("192.0.2.07", UNKNOWN, UNKNOWN),
        ("a name", UNKNOWN, UNKNOWN),
    ],
)
def test_the_network_of_an_address(address: str, network: str, host: str) -> None:
    assert client_address(address) == ClientAddress(network, host)
