"""The LAN finder on a real network: avahi as the provider, and hostile senders beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from image.lab.namespace import LabError
from image.lab.network import BRIDGE, Lab
from tests.support.avahi_host import AvahiHost, neighbour, wait_until
from tests.support.mdns_packets import PATH
from tests.support.required_programs import absent, needed

pytestmark = pytest.mark.interop

WINDOW = 15.0
MIRROR = f"http://neighbour.local:8070{PATH}"
GOOD4, GOOD6 = f"http://10.77.0.2:8070{PATH}", f"http://[fd77:b007::2]:8070{PATH}"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(Lab(dhcp=False))
        except LabError as error:
            absent(str(error))
        yield made


@pytest.fixture
def machine(lab: Lab) -> Iterator[AvahiHost]:
    with neighbour(lab) as made:
        yield made


def publish(machine: AvahiHost, tmp_path: Path, *, name: str = "the provider") -> None:
    """Have avahi announce a provider, with keys in the case that a person may type."""
    program, log = needed("avahi-publish", "avahi-utils"), tmp_path / "publish"
    words = ("ARCH=amd64", "Channel=stable", f"mirror={MIRROR}")
    machine.start([program, "-s", name, "_phase-image._tcp", "8070", *words], log)
    wait_until(lambda: "Established" in log.read_text(), log)


class Finder:
    """`tests.support.mdns_finder` in the lab."""

    def __init__(self, lab: Lab, tmp_path: Path, seconds: float = WINDOW) -> None:
        self.log = tmp_path / "finder"
        with self.log.open("wb") as log:
            words = [sys.executable, "-m", "tests.support.mdns_finder", str(seconds)]
            self.process = lab.popen(words, stdout=log, stderr=log)
        wait_until(lambda: "began" in self.log.read_text(), self.log)
        self.began = time.monotonic()

    def found(self) -> dict[str, float]:
        """Return when each URL was found, in seconds from the start."""
        return {line["url"]: line["at"] for line in self.lines() if "url" in line}

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait_for(self, *urls: str) -> float:
        """Wait until one of these is found, and return when it was."""
        wait_until(lambda: set(urls) & self.found().keys(), self.log)
        return min(at for url, at in self.found().items() if url in urls)


def lie(lab: Lab, tmp_path: Path, count: int) -> subprocess.Popen[bytes]:
    log = tmp_path / "liar"
    with log.open("wb") as out:
        words = [sys.executable, "-m", "tests.support.mdns_attacker", BRIDGE, str(count)]
        process = lab.popen(words, stdout=out, stderr=out)
    wait_until(lambda: "sent" in log.read_text(), log)
    return process


@pytest.mark.parametrize("count", [0, 26, 64, 5000])
def test_a_provider_is_found_among_false_announcements(
    lab: Lab, machine: AvahiHost, tmp_path: Path, count: int
) -> None:
    publish(machine, tmp_path)
    lie(lab, tmp_path, count)
    assert Finder(lab, tmp_path).wait_for(GOOD4, GOOD6) <= WINDOW + 1


def test_a_provider_that_begins_under_a_flood_is_found(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    lie(lab, tmp_path, 64)
    finder = Finder(lab, tmp_path, 30)
    publish(machine, tmp_path)
    finder.wait_for(GOOD4, GOOD6)


def test_a_name_with_dots_and_a_bracket_is_resolved(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    publish(machine, tmp_path, name="a.b (2)")
    Finder(lab, tmp_path).wait_for(GOOD4, GOOD6)


def test_on_a_network_of_ipv6_alone_a_provider_is_found(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    lab.run(["ip", "-4", "addr", "flush", "dev", BRIDGE])
    machine.run(["ip", "-4", "addr", "flush", "dev", "eth0"])
    publish(machine, tmp_path)
    finder = Finder(lab, tmp_path)
    finder.wait_for(GOOD6)
    assert GOOD4 not in finder.found()


def test_without_a_router_the_link_local_address_has_its_interface(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    for family in ("-4", "-6"):
        only_global = [] if family == "-4" else ["scope", "global"]
        lab.run(["ip", family, "addr", "flush", "dev", BRIDGE, *only_global])
        machine.run(["ip", family, "addr", "flush", "dev", "eth0", *only_global])
    publish(machine, tmp_path)
    finder = Finder(lab, tmp_path)
    wait_until(finder.found, finder.log)
    index = json.loads(lab.run(["ip", "-j", "link", "show", BRIDGE]))[0]["ifindex"]
    # The lab's end of the bridge's other port hears the provider too.
    assert all(url.startswith("http://[fe80::") for url in finder.found())
    wait_until(
        lambda: any(url.endswith(f"%{index}]:8070{PATH}") for url in finder.found()), finder.log
    )


def test_an_interface_that_comes_later_is_searched(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    lab.run(["ip", "link", "set", BRIDGE, "down"])
    lab.run(["ip", "addr", "flush", "dev", BRIDGE])
    publish(machine, tmp_path)
    finder = Finder(lab, tmp_path, 30)
    time.sleep(2)
    assert finder.found() == {}
    lab.run(["ip", "link", "set", BRIDGE, "up"])
    lab.run(["ip", "addr", "add", "10.77.0.1/24", "dev", BRIDGE])
    finder.wait_for(GOOD4)


def test_a_reconnected_cable_is_searched_again(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    finder = Finder(lab, tmp_path, 30)
    lab.run(["ip", "link", "set", BRIDGE, "down"])
    lab.run(["ip", "addr", "flush", "dev", BRIDGE])
    time.sleep(1)
    lab.run(["ip", "link", "set", BRIDGE, "up"])
    lab.run(["ip", "addr", "add", "10.77.0.1/24", "dev", BRIDGE])
    publish(machine, tmp_path)
    finder.wait_for(GOOD4)


def test_without_a_network_the_finder_reports_it(lab: Lab, tmp_path: Path) -> None:
    log = tmp_path / "finder"
    words = ["unshare", "--net", sys.executable, "-m", "tests.support.mdns_finder", "1"]
    with log.open("wb") as out:
        lab.popen(words, stdout=out, stderr=out).wait(timeout=60)
    assert "mDNS cannot be used on this network" in log.read_text()


def test_links_and_addresses_are_followed_as_they_come_and_go(lab: Lab, tmp_path: Path) -> None:
    lab.run(["sh", "-c", "ip link add late0 type veth peer late1 && ip link set late1 up"])
    log = tmp_path / "watcher"
    with log.open("wb") as out:
        lab.popen(
            [sys.executable, "-m", "tests.support.link_watcher", "60"], stdout=out, stderr=out
        )

    def last() -> dict[str, list[str]]:
        lines = log.read_text().splitlines()
        return dict(json.loads(lines[-1])) if lines else {}

    wait_until(lambda: BRIDGE in last(), log)
    assert "late0" not in last()
    lab.run(["sh", "-c", "ip addr add 10.99.0.1/24 dev late0 && ip link set late0 up"])
    wait_until(lambda: last().get("late0") == ["10.99.0.1/24"], log)
    lab.run(["ip", "addr", "add", "fd99::1/64", "dev", "late0"])
    wait_until(lambda: last().get("late0") == ["10.99.0.1/24", "fd99::1/64"], log)
    lab.run(["sh", "-c", "ip addr flush dev late0 && ip addr add 10.98.0.1/24 dev late0"])
    wait_until(lambda: last().get("late0") == ["10.98.0.1/24"], log)
    lab.run(["ip", "link", "del", "late0"])
    wait_until(lambda: "late0" not in last(), log)
