"""Network interfaces: netlink replies, truncated ones too, and records of drawn addresses."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from phase_boot.adapters.net.interfaces import Device, Interfaces, device, devices, messages
from phase_boot.ports.privacy import Unreadable
from tests.support.required_programs import absent, needed

BURNED_IN = "52:54:00:77:00:01"
DRAWN = "0a:5c:11:22:33:44"
CARD = Device(index=2, name="eth0", type=1, flags=0x1003, address=DRAWN, permanent=BURNED_IN)


def seed(root: Path, *, address: str = DRAWN, assigned: str = "3", record: str = DRAWN) -> Path:
    files = {
        "sys/class/net/eth0/address": address,
        "sys/class/net/eth0/ifindex": "2",
        "sys/class/net/eth0/addr_assign_type": assigned,
        "proc/sys/net/ipv6/conf/eth0/addr_gen_mode": "3",
        "proc/net/if_inet6": "fe80000000000000085c11fffe223344 02 40 20 80     eth0",
        "run/phase-boot/addresses/2": f"{record}\n\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def found(root: Path, *listed: Device) -> Interfaces:
    return Interfaces(root=root, listed=lambda: listed or (CARD,))


def test_an_interface_is_reported_with_every_kernel_field(tmp_path: Path) -> None:
    ((index, each),) = found(seed(tmp_path)).found()
    assert (index, each.name, each.address, each.permanent) == (2, "eth0", DRAWN, BURNED_IN)
    assert (each.drawn, each.refused, each.assigned) == (DRAWN, None, True)
    assert (each.up, each.ethernet, each.generation) == (True, True, 3)
    assert each.addresses == ("fe80::85c:11ff:fe22:3344",)


def test_a_card_that_was_left_out_has_the_reason(tmp_path: Path) -> None:
    seed(tmp_path)
    (tmp_path / "run/phase-boot/addresses/2").write_text("\nthe driver refuses another one\n")
    ((_, each),) = found(tmp_path).found()
    assert (each.drawn, each.refused) == (None, "the driver refuses another one")


@pytest.mark.parametrize("record", ["", "\n", "\n\n"])
def test_an_empty_record_is_not_a_drawn_address(record: str, tmp_path: Path) -> None:
    seed(tmp_path)
    (tmp_path / "run/phase-boot/addresses/2").write_text(record)
    ((_, each),) = found(tmp_path).found()
    assert each.drawn is None


@pytest.mark.parametrize("kept", ["0", "1", "", "x"])
def test_an_address_without_the_set_flag_is_reported(kept: str, tmp_path: Path) -> None:
    ((_, each),) = found(seed(tmp_path, assigned=kept)).found()
    assert not each.assigned


def test_the_address_generation_mode_is_read_and_never_assumed(tmp_path: Path) -> None:
    seed(tmp_path)
    (tmp_path / "proc/sys/net/ipv6/conf/eth0/addr_gen_mode").unlink()
    assert found(tmp_path).found()[0][1].generation == -1
    shutil.rmtree(tmp_path / "proc/sys/net/ipv6")
    assert found(tmp_path).found()[0][1].generation == 1, "without IPv6 none are made"


def test_the_loopback_is_not_listed(tmp_path: Path) -> None:
    loopback = Device(index=1, name="lo", type=772, flags=0x49)
    assert found(seed(tmp_path), loopback).found() == ()


def test_in_private_an_interface_is_permitted_with_its_drawn_address_only(tmp_path: Path) -> None:
    assert found(seed(tmp_path / "a")).permitted("eth0")
    assert not found(seed(tmp_path / "b", address=BURNED_IN)).permitted("eth0")
    assert not found(seed(tmp_path / "c", record="")).permitted("eth0")
    assert not found(seed(tmp_path / "d")).permitted("eth1")
    # Without records the mode is another one.
    assert found(tmp_path / "e").permitted("eth0")


def test_the_kernel_of_this_machine_lists_its_interfaces_as_ip_does() -> None:
    program = needed("ip", "iproute2")
    listed = subprocess.run([program, "-json", "link"], check=True, capture_output=True, text=True)
    by_ip = {
        link["ifname"]: (link["ifindex"], link.get("address", ""), link.get("permaddr"))
        for link in json.loads(listed.stdout)
    }
    for each in devices():
        index, address, permanent = by_ip[each.name]
        assert (each.index, each.address) == (index, address)
        # `ip` leaves out a permanent address that is the current one.
        assert permanent in {None, each.permanent}
    assert {each.name for each in devices()} == set(by_ip)


def test_the_burned_in_address_is_reported_beside_the_set_one() -> None:
    """A bridge has no burned-in address; this machine's own card, where it has one, has."""
    program = (
        "from phase_boot.adapters.net.interfaces import devices; import json, dataclasses;"
        "print(json.dumps([dataclasses.asdict(d) for d in devices()]))"
    )
    script = f"ip link add card0 address {DRAWN} type bridge && {sys.executable} -c '{program}'"
    done = subprocess.run(
        ["unshare", "-Urn", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode and "unshare" in done.stderr:
        absent(f"no network namespace can be made: {done.stderr.strip()}; allow user namespaces")
    (card,) = [each for each in json.loads(done.stdout) if each["name"] == "card0"]
    assert (card["address"], card["type"]) == (DRAWN, 1)
    assert card["permanent"] is None


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


BODY = struct.pack("=BxHiII", 0, 1, 2, 0x1003, 0) + b"".join(
    [
        attribute(3, b"eth0\0"),
        attribute(1, bytes.fromhex("0a5c11223344")),
        attribute(54, bytes.fromhex("525400770001")),
        attribute(99, b"whatever"),
    ]
)


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def test_a_netlink_reply_is_parsed() -> None:
    pairs = list(messages(message(16, BODY) + message(3, bytes(4))))
    assert [kind for kind, _ in pairs] == [16, 3]
    assert device(pairs[0][1]) == CARD


@pytest.mark.parametrize(
    "datagram",
    [
        message(2, bytes(4)),
        struct.pack("=IHHII", 4, 16, 0, 1, 0),
        struct.pack("=IHHII", 4096, 16, 0, 1, 0),
    ],
)
def test_a_netlink_reply_with_a_false_length_is_refused(datagram: bytes) -> None:
    with pytest.raises(ValueError, match="netlink"):
        list(messages(datagram))


@pytest.mark.parametrize("length", [0, 3, 200])
def test_a_netlink_attribute_with_a_false_length_is_refused(length: int) -> None:
    body = BODY[:16] + struct.pack("=HH", length, 3) + b"eth0\0\0\0\0"
    with pytest.raises(ValueError, match="netlink"):
        device(body)


def test_without_a_netlink_reply_the_read_back_fails() -> None:
    def silent() -> tuple[Device, ...]:
        raise Unreadable("the kernel does not list its network interfaces")

    with pytest.raises(Unreadable):
        Interfaces(listed=silent).found()
