"""private-address.sh: Private uses an interface only with a drawn address."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.required_programs import absent

SCRIPT = Path("image/base/root/usr/lib/phase-boot/private-address.sh").absolute()
BURNED_IN = "52:54:00:77:00:01"
PERMANENT, RANDOM, STOLEN, SET = "0", "1", "2", "3"
"""addr_assign_type (linux/netdevice.h)."""

OBEYS = 'echo "$6" >{folder}/address; echo 3 >{folder}/addr_assign_type'
REFUSES = 'echo "RTNETLINK answers: Operation not supported" >&2; exit 2'
LIES = "echo 3 >{folder}/addr_assign_type"
REVERTS = 'echo "$6" >{folder}/address'


@dataclass
class Card:
    """A network card in a tree like that of the kernel, whose driver is a script."""

    root: Path
    name: str = "eth0"
    index: int = 2

    @property
    def folder(self) -> Path:
        return self.root / "sys/class/net" / self.name

    @property
    def address(self) -> str:
        return (self.folder / "address").read_text().strip()

    @property
    def record(self) -> list[str]:
        return (self.root / f"run/phase-boot/addresses/{self.index}").read_text().split("\n")

    def set(self, **values: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (self.folder / name).write_text(f"{value}\n")

    def driver(self, does: str) -> None:
        program = self.root / "bin/ip"
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n" + does.format(folder=self.folder) + "\n")
        program.chmod(0o755)

    def event(self) -> str:
        """What udev imports at an event of this card."""
        done = subprocess.run(
            ["sh", str(SCRIPT), self.name, str(self.root)],
            env={"PATH": f"{self.root / 'bin'}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.strip()


@pytest.fixture
def card(tmp_path: Path) -> Card:
    (tmp_path / "dev").mkdir()
    card = Card(tmp_path)
    card.set(
        type=1,
        ifindex=2,
        iflink=2,
        flags="0x1002",
        address=BURNED_IN,
        addr_assign_type=PERMANENT,
    )
    card.driver(OBEYS)
    return card


def test_a_drawn_address_is_set_and_read_back(card: Card) -> None:
    assert card.event() == "PHASE_ADDRESS=drawn"
    assert card.address != BURNED_IN
    first = int(card.address[:2], 16)
    assert first & 3 == 2, "locally administered, and no multicast"
    assert card.record == [card.address, "", ""]


def test_two_boots_draw_two_addresses(card: Card, tmp_path: Path) -> None:
    card.event()
    first = card.address
    shutil.rmtree(tmp_path / "run")
    card.set(address=BURNED_IN, addr_assign_type=PERMANENT)
    card.event()
    assert card.address != first


def test_a_second_event_of_a_card_that_is_up_keeps_its_address(card: Card) -> None:
    card.event()
    before = card.address
    card.set(flags="0x1003")
    card.driver(REFUSES)
    assert card.event() == "PHASE_ADDRESS=drawn"
    assert card.address == before


@pytest.mark.parametrize(
    ("driver", "cause"),
    [
        (REFUSES, "Operation not supported"),
        (LIES, "does not use it"),
        (REVERTS, "does not use it"),
    ],
)
def test_a_driver_that_keeps_the_burned_in_address_is_left_out(
    driver: str, cause: str, card: Card
) -> None:
    card.driver(driver)
    assert card.event() == "PHASE_ADDRESS=kept"
    assert card.record[0] == ""
    assert cause in card.record[1]
    kernel_log = (card.root / "dev/kmsg").read_text()
    assert "eth0" in kernel_log
    assert cause in kernel_log
    assert BURNED_IN not in kernel_log


def test_an_address_that_was_reset_is_drawn_again(card: Card) -> None:
    card.event()
    card.set(address=BURNED_IN, addr_assign_type=SET)
    assert card.event() == "PHASE_ADDRESS=drawn"
    assert card.address != BURNED_IN


def test_a_card_that_was_up_before_is_left_out(card: Card) -> None:
    card.set(flags="0x1003")
    assert card.event() == "PHASE_ADDRESS=kept"
    assert card.address == BURNED_IN


def test_an_address_that_the_kernel_generated_is_replaced_too(card: Card) -> None:
    card.set(address="72:00:00:00:00:01", addr_assign_type=RANDOM)
    assert card.event() == "PHASE_ADDRESS=drawn"
    assert card.address != "72:00:00:00:00:01"


def test_a_vlan_has_the_drawn_address_of_its_trunk(card: Card) -> None:
    card.event()
    vlan = Card(card.root, "phase-vlan", 7)
    vlan.set(type=1, ifindex=7, iflink=2, flags="0x1002")
    vlan.set(address=card.address, addr_assign_type=STOLEN)
    card.driver(REFUSES)
    assert vlan.event() == "PHASE_ADDRESS=drawn"


def test_a_vlan_over_a_card_that_was_left_out_is_left_out(card: Card) -> None:
    card.driver(REFUSES)
    card.event()
    vlan = Card(card.root, "phase-vlan", 7)
    vlan.set(type=1, ifindex=7, iflink=2, flags="0x1002")
    vlan.set(address=BURNED_IN, addr_assign_type=STOLEN)
    assert vlan.event() == "PHASE_ADDRESS=kept"


def test_other_link_types_are_left_alone(card: Card) -> None:
    card.set(type=772)
    assert card.event() == ""
    assert card.address == BURNED_IN


@pytest.mark.parametrize("missing", ["address", "addr_assign_type", "flags", "ifindex", "iflink"])
def test_an_unverified_address_is_not_reported_as_drawn(missing: str, card: Card) -> None:
    (card.folder / missing).unlink()
    if missing in {"address", "addr_assign_type"}:
        card.driver("exit 0")
    done = subprocess.run(
        ["sh", str(SCRIPT), card.name, str(card.root)],
        env={"PATH": f"{card.root / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "drawn" not in done.stdout


def test_the_kernels_own_interface_gets_the_address(tmp_path: Path) -> None:
    """A bridge stands for a card: a namespace can make one, and it takes another address."""
    (tmp_path / "sys").mkdir()
    (tmp_path / "dev").mkdir()
    (tmp_path / "sys/class").symlink_to("/sys/class")
    script = f"""set -e
    mount -t sysfs sysfs /sys
    ip link add card0 type bridge
    sh {SCRIPT} card0 {tmp_path}
    ip -o link show dev card0
    cat {tmp_path}/run/phase-boot/addresses/*
    """
    done = subprocess.run(
        ["unshare", "-Urnm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode and "unshare" in done.stderr:
        absent(f"no network namespace can be made: {done.stderr.strip()}; allow user namespaces")
    assert done.returncode == 0, done.stderr
    property_, link, drawn = done.stdout.splitlines()[:3]
    assert property_ == "PHASE_ADDRESS=drawn"
    assert f"link/ether {drawn} " in link


def test_in_private_nothing_but_a_drawn_address_is_set_up() -> None:
    folder = Path("image/base/root/etc/systemd/network")
    paths = [*folder.iterdir(), *Path("image/seed/root/etc/systemd/network").iterdir()]
    for path in paths:
        lines = path.read_text().splitlines()
        other_mode = {"KernelCommandLine=!phase.mode=private", "KernelCommandLine=phase.mode=local"}
        drawn = "Property=PHASE_ADDRESS=drawn" in lines
        assert other_mode & set(lines) or drawn, f"{path} sets up what was not read back"
