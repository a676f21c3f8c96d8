"""The read-back of Private mode in a tree like that of a seed."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from phase_boot.adapters.boot.efi_variables import EfiVariables
from phase_boot.adapters.linux_privacy import LinuxPrivacy
from phase_boot.adapters.net.interfaces import Device, Interfaces
from phase_boot.adapters.net.networkd import files
from phase_boot.machine.read_back import violations
from phase_boot.ports.network import Setup
from phase_boot.ports.privacy import Evidence, Unreadable

IMAGE = Path("image/base/root/etc/systemd/network/05-private.network")
APPLIED = "etc/systemd/network/05-private.network"
DRAWN = "0a:5c:11:22:33:44"
CARD = Device(
    index=2, name="eth0", type=1, flags=0x1003, address=DRAWN, permanent="52:54:00:77:00:01"
)
MOUNTS = """22 28 0:20 / /proc rw,relatime - proc proc rw
28 1 0:25 / / rw,relatime - overlay overlay rw,lowerdir=/ro
31 28 0:26 / /run rw,nosuid - tmpfs tmpfs rw
40 28 0:30 / /run/phase-boot/memory rw - tmpfs tmpfs rw
"""
STATE = f"""# This is private data. Do not parse.
ADMIN_STATE=configured
NETWORK_FILE=/{APPLIED}
DHCP6_CLIENT_IAID=0x1
DHCP6_CLIENT_DUID=DUID-LL:0001{DRAWN.replace(":", "")}
"""
STAT = "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"
NON_VOLATILE, VOLATILE = 7, 6


class Seed:
    """A seed in Private, in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        hexadecimal = DRAWN.replace(":", "")
        self.write("etc/hostname", "phase-seed\n")
        self.write(APPLIED, IMAGE.read_text())
        self.write("proc/self/mountinfo", MOUNTS)
        self.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
        self.write("proc/net/if_inet6", "fe80000000000000085c11fffe223344 02 40 20 80 eth0\n")
        self.write("proc/sys/net/ipv6/conf/eth0/addr_gen_mode", "3\n")
        self.write("sys/class/net/eth0/addr_assign_type", "3\n")
        self.write("sys/class/block/vda3/uevent", "DEVNAME=vda3\nPARTNAME=phase-cache\n")
        self.write("sys/class/block/vda3/stat", STAT)
        self.write("sys/class/block/vda2/uevent", "DEVNAME=vda2\nPARTNAME=phase-seed\n")
        self.write("sys/class/block/vda2/stat", STAT.replace("0", "7"))
        self.write("run/phase-boot/addresses/2", f"{DRAWN}\n\n")
        self.write("run/systemd/netif/links/2", STATE)
        self.write("run/systemd/netif/leases/2", f"ADDRESS=10.0.0.2\nCLIENTID=01{hexadecimal}\n")
        self.variable("BootOrder", b"\1\0")
        self.variable("LoaderTimeExecUSec", b"9", attributes=VOLATILE)
        self.node_name = "phase-seed"

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def variable(self, name: str, value: bytes, *, attributes: int = NON_VOLATILE) -> None:
        path = self.root / f"sys/firmware/efi/efivars/{name}-8be4df61"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(struct.pack("<I", attributes) + value)

    @property
    def privacy(self) -> LinuxPrivacy:
        return LinuxPrivacy(
            root=self.root,
            interfaces=Interfaces(root=self.root, listed=lambda: (CARD,)),
            variables=EfiVariables(self.root / "sys/firmware/efi/efivars"),
            node_name=lambda: self.node_name,
        )

    async def sentences(self) -> list[str]:
        return list(violations(await self.privacy.evidence(), used="eth0"))


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed(tmp_path)


async def test_a_seed_in_private_keeps_every_promise(seed: Seed) -> None:
    await seed.privacy.begin()
    evidence = await seed.privacy.evidence()
    assert list(violations(evidence, used="eth0")) == []
    (configuration,) = evidence.configurations
    assert configuration.client == "010a5c11223344"
    assert configuration.association == 1
    assert dict(configuration.settings)["DHCPv4.Anonymize"] == "yes"


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("proc/self/mountinfo", f"{MOUNTS}50 28 254:3 / /cache rw - ext4 /dev/vda3 rw\n", "/cache"),
        ("proc/self/mountinfo", f"{MOUNTS}50 28 0:40 / /mnt rw - btrfs /dev/sda1 rw\n", "/mnt"),
        ("proc/swaps", "Filename\tType\n/dev/sda2  partition 9 0 -2\n", "/dev/sda2"),
        ("sys/class/block/vda3/stat", "1" + STAT[1:], "vda3"),
        ("sys/class/block/vda3/stat", "0 0 0 0 1 0 0 0 0 0 0 0 0 0 0 0 0", "vda3"),
        ("sys/class/block/vda3/stat", "0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0", "vda3"),
        ("run/systemd/netif/leases/2", "CLIENTID=ff56504d9800020000ab11\n", "client identifier"),
        ("run/systemd/netif/links/2", STATE.replace("=0x1", "=0xdeadbeef"), "IAID"),
        (APPLIED, "[Network]\nDHCP=yes\n", "LLMNR"),
        (APPLIED, IMAGE.read_text().replace("Anonymize=yes\n", ""), "Anonymize"),
        ("proc/sys/net/ipv6/conf/eth0/addr_gen_mode", "0\n", "the same in every boot"),
        ("sys/class/net/eth0/addr_assign_type", "0\n", "another hardware address"),
        ("run/phase-boot/addresses/2", "\nOperation not supported\n", "was not drawn"),
    ],
)
async def test_a_setting_that_did_not_take_effect_is_found(
    name: str, text: str, word: str, seed: Seed
) -> None:
    await seed.privacy.begin()
    seed.write(name, text)
    (sentence,) = await seed.sentences()
    assert word in sentence


async def test_a_drop_in_that_takes_a_setting_back_is_found(seed: Seed) -> None:
    await seed.privacy.begin()
    seed.write("etc/systemd/network/x.conf", "[DHCPv4]\nAnonymize=no\n")
    drop_in = 'NETWORK_FILE_DROPINS="/etc/systemd/network/x.conf"\n'
    seed.write("run/systemd/netif/links/2", STATE + drop_in)
    assert "Anonymize" in (await seed.sentences())[0]


@pytest.mark.parametrize(
    "setup",
    [
        Setup(interface="eth0"),
        Setup(
            interface="eth0",
            addresses=(ip_interface("10.0.0.9/24"),),
            gateways=(ip_address("10.0.0.1"),),
        ),
    ],
    ids=["dhcp", "static"],
)
async def test_a_set_up_by_a_person_keeps_every_promise_too(setup: Setup, seed: Seed) -> None:
    await seed.privacy.begin()
    name = "01-phase-link-private.network"
    seed.write(f"run/systemd/network/{name}", files(setup, lan_only=False)[name])
    state = STATE.replace(APPLIED, f"run/systemd/network/{name}")
    seed.write("run/systemd/netif/links/2", state)
    assert await seed.sentences() == []


async def test_another_host_name_is_found(seed: Seed) -> None:
    await seed.privacy.begin()
    seed.node_name = "alices-laptop"
    assert "host name" in (await seed.sentences())[0]


async def test_a_variable_that_is_changed_added_or_removed_is_named(seed: Seed) -> None:
    seed.variable("Gone", b"x")
    await seed.privacy.begin()
    seed.variable("BootOrder", b"\2\0")
    seed.variable("Added", b"x")
    (seed.root / "sys/firmware/efi/efivars/Gone-8be4df61").unlink()
    evidence = await seed.privacy.evidence()
    assert [name.partition("-")[0] for name in evidence.variables] == ["Added", "BootOrder", "Gone"]


async def test_attributes_are_compared_and_volatile_variables_ignored(seed: Seed) -> None:
    await seed.privacy.begin()
    seed.variable("LoaderTimeExecUSec", b"10", attributes=VOLATILE)
    assert await seed.sentences() == []
    seed.variable("BootOrder", b"\1\0", attributes=3)
    assert "BootOrder" in (await seed.sentences())[0]


async def test_a_second_run_of_the_daemon_compares_with_the_first_snapshot(seed: Seed) -> None:
    await seed.privacy.begin()
    seed.variable("BootOrder", b"\2\0")
    await seed.privacy.begin()
    assert "BootOrder" in (await seed.sentences())[0]


async def test_without_a_snapshot_the_read_back_fails(seed: Seed) -> None:
    with pytest.raises(Unreadable, match="variables"):
        await seed.privacy.evidence()


async def test_a_machine_without_efi_has_no_variable_to_change(seed: Seed) -> None:
    for path in (seed.root / "sys/firmware/efi/efivars").iterdir():
        path.unlink()
    (seed.root / "sys/firmware/efi/efivars").rmdir()
    await seed.privacy.begin()
    assert await seed.sentences() == []


@pytest.mark.parametrize("name", ["proc/self/mountinfo", "proc/swaps", "etc/hostname", APPLIED])
async def test_an_unreadable_setting_fails_the_read_back(name: str, seed: Seed) -> None:
    await seed.privacy.begin()
    (seed.root / name).unlink()
    with pytest.raises(Unreadable):
        await seed.privacy.evidence()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("proc/self/mountinfo", "torn\n"),
        ("sys/class/block/vda3/stat", "x y z\n"),
        ("proc/net/if_inet6", "zz 1 2\n"),
        ("run/systemd/netif/links/2", STATE.replace("=0x1", "=many")),
        ("run/phase-boot/variables.json", "{torn"),
    ],
)
async def test_a_file_in_another_format_fails_the_read_back(
    name: str, text: str, seed: Seed
) -> None:
    await seed.privacy.begin()
    seed.write(name, text)
    with pytest.raises(Unreadable):
        await seed.privacy.evidence()


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
OVER_IPV4 = "eth1\t0003000A\t0102000A\t0003\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
ROUTES_IPV6 = (
    f"fe80{28 * '0'} 40 {32 * '0'} 00 {32 * '0'} 00000100 00000001 00000000 00000001     eth0\n"
    f"{32 * '0'} 00 {32 * '0'} 00 {32 * '0'} ffffffff 00000001 00000000 00200200       lo\n"
)
OVER_IPV6 = (
    f"{32 * '0'} 00 {32 * '0'} 00 fe80{27 * '0'}1 00000400 00000001 00000000 00000003     eth0\n"
)


async def test_a_route_beyond_the_lan_is_found_in_either_family(seed: Seed) -> None:
    seed.write("proc/net/route", ROUTES)
    seed.write("proc/net/ipv6_route", ROUTES_IPV6)
    assert await seed.privacy.routes() == ()
    seed.write("proc/net/route", ROUTES + OVER_IPV4)
    assert await seed.privacy.routes() == ("eth1",)
    seed.write("proc/net/ipv6_route", ROUTES_IPV6 + OVER_IPV6)
    assert await seed.privacy.routes() == ("eth0", "eth1")


@pytest.mark.parametrize("text", [None, "Iface\ntorn\n", "Iface\neth0 0 0 zz\n"])
async def test_unreadable_routes_do_not_count_as_no_routes(text: str | None, seed: Seed) -> None:
    if text is not None:
        seed.write("proc/net/route", text)
    with pytest.raises(Unreadable):
        await seed.privacy.routes()


async def test_the_settings_of_the_running_machine_can_be_read(tmp_path: Path) -> None:
    """The real files have the formats that are expected; what they say is the owner's affair."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("phase-seed\n")
    (tmp_path / "run/phase-boot").mkdir(parents=True)
    for name in ("proc", "sys"):
        (tmp_path / name).symlink_to(f"/{name}")
    privacy = LinuxPrivacy(root=tmp_path)
    await privacy.begin()
    assert isinstance(await privacy.evidence(), Evidence)
    assert isinstance(await privacy.routes(), tuple)
