"""The promises of Private: each broken one is one sentence with a way out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phase_boot.drill.fake_privacy import ANONYMOUS, BURNED_IN, GOOD, KEPT, SOUND
from phase_boot.machine.read_back import refused_interfaces, violations
from phase_boot.ports.privacy import NOTHING_REQUESTED, Evidence


def exposed(**changes: Any) -> Evidence:
    return replace(SOUND, interfaces=(replace(GOOD, **changes),))


def configured(**changes: Any) -> Evidence:
    return replace(SOUND, configurations=(replace(ANONYMOUS, **changes),))


def with_setting(key: str, value: str | None) -> Evidence:
    kept = tuple(each for each in ANONYMOUS.settings if each[0] != key)
    return configured(settings=kept if value is None else (*kept, (key, value)))


def test_settings_that_took_effect_keep_every_promise() -> None:
    assert list(violations(SOUND, used="eth0")) == []
    assert refused_interfaces(SOUND) == {}


def test_a_card_that_is_left_out_breaks_nothing_and_is_named() -> None:
    both = replace(SOUND, interfaces=(GOOD, KEPT))
    assert list(violations(both, used="eth0")) == []
    assert refused_interfaces(both) == {"eth1": KEPT.refused}


EIGHT_FIRST = "50:54:00:77:00:01"


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        (exposed(address=BURNED_IN), "burned-in"),
        (exposed(address=BURNED_IN, drawn=BURNED_IN), "burned-in"),
        (exposed(drawn=None), "was not drawn"),
        (exposed(drawn=None, permanent=None), "was not drawn"),
        (exposed(drawn="0a:00:00:00:00:01"), "another hardware address"),
        (exposed(assigned=False), "another hardware address"),
        (exposed(address=EIGHT_FIRST, drawn=EIGHT_FIRST), "not locally administered"),
        (exposed(address="03:00:00:00:00:01", drawn="03:00:00:00:00:01"), "not locally"),
        (exposed(address="02:00", drawn="02:00"), "none of Ethernet"),
        (exposed(address="", drawn=""), "none of Ethernet"),
        (exposed(ethernet=False, drawn=None), "was not drawn"),
        (exposed(addresses=("2001:db8::5054:ff:fe77:1",)), "made of a burned-in address"),
        (exposed(addresses=("fe80::5054:ff:fe77:1",)), "made of a burned-in address"),
        (exposed(generation=0), "the same in every boot"),
        (exposed(generation=2), "the same in every boot"),
        (exposed(generation=-1), "the same in every boot"),
        (configured(client="ff56504d98000200"), "DHCPv4 client identifier"),
        (configured(client=f"01{BURNED_IN.replace(':', '')}"), "DHCPv4 client identifier"),
        (configured(unique="DUID-EN/Vendor:0000ab11f93c"), "DUID"),
        (configured(unique=f"DUID-LL:0001{BURNED_IN.replace(':', '')}"), "DUID"),
        (configured(association=0x77000001), "IAID"),
        (with_setting("DHCPv4.Anonymize", None), "DHCPv4.Anonymize=yes"),
        (with_setting("DHCPv4.Anonymize", "no"), "DHCPv4.Anonymize=yes"),
        (with_setting("DHCPv6.SendHostname", None), "DHCPv6.SendHostname=no"),
        (with_setting("Network.LLMNR", "yes"), "Network.LLMNR=no"),
        (with_setting("Network.IPv6LinkLocalAddressGenerationMode", None), "random"),
        (replace(SOUND, host_name="alices-laptop"), "host name"),
        (replace(SOUND, mounts=("/cache",)), "/cache"),
        (replace(SOUND, swaps=("/dev/sda2",)), "/dev/sda2"),
        (replace(SOUND, opened=("sda3",)), "sda3"),
        (replace(SOUND, variables=("BootOrder-8be4df61",)), "BootOrder"),
        (replace(SOUND, compared=-1), "EFI variables is -1"),
        (replace(SOUND, interfaces=()), "eth0 carries this boot and was not read back"),
        (replace(SOUND, interfaces=(KEPT,)), "eth0 carries this boot and was not read back"),
    ],
)
def test_a_promise_that_is_not_met_is_one_sentence(evidence: Evidence, word: str) -> None:
    sentence, *_ = violations(evidence, used="eth0")
    assert word in sentence
    assert "; " in sentence
    assert "\n" not in sentence


def test_an_interface_with_the_burned_in_address_of_another_card_is_found() -> None:
    stacked = replace(GOOD, name="bond0", address=KEPT.address, drawn=KEPT.address)
    evidence = replace(SOUND, interfaces=(GOOD, KEPT, stacked))
    (sentence,) = violations(evidence)
    assert sentence.startswith("bond0 is up with its burned-in")


def test_an_interface_that_is_down_sends_nothing() -> None:
    assert list(violations(exposed(address=BURNED_IN, drawn=None, up=False, generation=0))) == []


def test_a_tunnel_without_a_hardware_address_is_ignored() -> None:
    tunnel = replace(GOOD, name="wg0", ethernet=False, address="", permanent=None, drawn=None)
    assert list(violations(replace(SOUND, interfaces=(GOOD, tunnel)))) == []


def test_a_static_address_needs_no_dhcp_settings() -> None:
    quiet = (
        ("Network.LLMNR", "no"),
        ("Network.MulticastDNS", "no"),
        ("Network.DHCP", "no"),
        ("Network.IPv6AcceptRA", "no"),
    )
    assert list(violations(configured(settings=quiet, client=None, unique=None))) == []


def test_without_requested_settings_no_promise_is_checked() -> None:
    assert list(violations(NOTHING_REQUESTED, used="lo")) == []


def test_evidence_that_only_claims_to_be_of_a_dry_run_is_refused() -> None:
    (sentence,) = violations(replace(exposed(address=BURNED_IN), requested=False), used="eth0")
    assert "no dry run" in sentence


def test_networkd_settings_of_a_removed_card_are_ignored() -> None:
    assert list(violations(replace(SOUND, interfaces=()))) == []
