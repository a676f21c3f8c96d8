"""The forms in which an address of this machine may be written."""

from __future__ import annotations

import pytest

from phase_boot.content.own_address import connected_address, is_one_of


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.168.1.5", "192.168.1.5"),
        ("::ffff:192.168.1.5", "192.168.1.5"),
        ("::ffff:c0a8:105", "192.168.1.5"),
        ("0:0:0:0:0:FFFF:C0A8:0105", "192.168.1.5"),
        ("2001:DB8:0::0:7", "2001:db8::7"),
        ("fe80::0:1%eth0", "fe80::1"),
        ("64:ff9b::192.168.1.5", "64:ff9b::c0a8:105"),
        ("2002:c0a8:105::1", "2002:c0a8:105::1"),
        ("::192.168.1.5", "::c0a8:105"),
        ("mirror.example", "mirror.example"),
    ],
)
def test_the_address_that_the_kernel_connects_to_has_one_form(host: str, address: str) -> None:
    assert connected_address(host) == address


@pytest.mark.parametrize(
    "host", ["192.168.1.5", "::ffff:192.168.1.5", "::ffff:c0a8:105", "2001:db8:0::7"]
)
def test_every_form_of_an_own_address_is_own(host: str) -> None:
    assert is_one_of(host, {"192.168.1.5", "2001:DB8::7"})
    assert is_one_of(host, {"::ffff:192.168.1.5", "2001:db8::7"})
    assert not is_one_of(host, {"192.168.1.6", "2001:db8::8"})
    assert not is_one_of(host, ())
