"""avahi on another machine of the LAN reads our announcements."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from image.lab.namespace import LabError
from image.lab.network import BRIDGE, IPV4, Lab
from phase_boot.content.cid import raw_cid
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import document, signed
from phase_boot.provider.interfaces import host_label
from tests.support.avahi_host import AvahiHost, neighbour, wait_until
from tests.support.provider import MANIFEST, make_site
from tests.support.required_programs import absent, needed

pytestmark = pytest.mark.interop

NAME = f"stable amd64 {host_label()} {BRIDGE}"


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


class Provider:
    """`phase-boot serve` in the lab."""

    def __init__(self, lab: Lab, tmp_path: Path, *words: str) -> None:
        self.site = make_site(tmp_path / "site")
        self.log = tmp_path / "events"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "phase_boot.cli", "serve", str(self.site), *words]
            self.process = lab.popen(command, stdout=log, stderr=log)

    def events_of(self, event: str, interface: str = BRIDGE) -> list[dict[str, str]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        found = [line for line in lines if line["event"] == event]
        return [line for line in found if line["interface"] == interface]

    def wait_for(self, event: str, count: int = 1, interface: str = BRIDGE) -> None:
        wait_until(lambda: len(self.events_of(event, interface)) >= count, self.log)

    def cid(self) -> str:
        return raw_cid(Digest.of((self.site / MANIFEST[1:]).read_bytes()))


def seen(machine: AvahiHost) -> set[str]:
    """Return the names that avahi finds of the lab's bridge."""
    return {found[3] for found in machine.browse() if BRIDGE in found[3]}


def texts(found: list[str]) -> dict[str, str]:
    """Return the TXT record that avahi printed."""
    return dict(text.split("=", 1) for text in shlex.split(found[9]))


def spelled(name: str) -> str:
    """Return a name as avahi prints it."""
    return name.replace(" ", "\\032")


def test_avahi_finds_the_announcement_over_both_families(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    provider = Provider(lab, tmp_path)
    provider.wait_for("announce.shown")
    ours = [found for found in machine.browse() if found[3] == spelled(NAME)]
    assert {found[2] for found in ours} == {"IPv4", "IPv6"}
    for found in ours:
        assert found[4:6] == ["_phase-image._tcp", "local"]
        assert found[6] == f"{host_label()}.local"
        assert found[7] in {IPV4, "fd77:b007::1"} or found[7].startswith("fe80::")
        assert found[8] == "8070"
        assert texts(found) == {
            "arch": "amd64",
            "channel": "stable",
            "manifest_cid": provider.cid(),
            "mirror": f"http://{host_label()}.local:8070{MANIFEST}",
        }


def test_avahi_resolves_the_name_that_the_mirror_has(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    Provider(lab, tmp_path).wait_for("announce.shown")
    resolve = needed("avahi-resolve", "avahi-utils")
    out = machine.run([resolve, "-4", "-n", f"{host_label()}.local"])
    assert out.split()[1] == IPV4


def test_a_new_version_is_announced_in_place_of_the_old(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    provider = Provider(lab, tmp_path)
    provider.wait_for("announce.shown")
    before = provider.cid()
    machine.browse()
    (provider.site / MANIFEST[1:]).write_bytes(signed(document(version="2025.11.13")))
    provider.wait_for("announce.shown", 2)
    assert provider.cid() != before
    ours = [found for found in machine.browse() if found[3] == spelled(NAME)]
    assert {texts(found)["manifest_cid"] for found in ours} == {provider.cid()}


def test_announcements_of_removed_versions_are_withdrawn_and_all_at_the_end(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    provider = Provider(lab, tmp_path)
    provider.wait_for("announce.shown")
    arm = provider.site / "nightly" / "arm64"
    arm.mkdir(parents=True)
    (arm / "manifest.json").write_bytes(signed(document(channel="nightly", arch="arm64")))
    provider.wait_for("announce.shown", 2)
    assert len(seen(machine)) == 2
    (arm / "manifest.json").unlink()
    provider.wait_for("announce.withdrawn")
    # A goodbye takes effect after a second (RFC 6762, 10.1).
    wait_until(lambda: seen(machine) == {spelled(NAME)}, provider.log)
    provider.process.terminate()
    wait_until(lambda: "serve.stopped" in provider.log.read_text(), provider.log)
    wait_until(lambda: machine.browse() == [], provider.log)
    assert len(provider.events_of("announce.withdrawn")) == 2


def test_a_name_that_avahi_has_claimed_is_not_used(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    publish = needed("avahi-publish", "avahi-utils")
    taken = tmp_path / "taken"
    machine.start([publish, "-s", NAME, "_phase-image._tcp", "9", "mirror=none"], taken)
    wait_until(lambda: "Established" in taken.read_text(), taken)
    Provider(lab, tmp_path).wait_for("announce.shown")
    names = {(found[3], found[8]) for found in machine.browse() if BRIDGE in found[3]}
    assert names == {(spelled(NAME), "9"), (f"{spelled(NAME)}-2", "8070")}


def test_a_host_that_claims_every_name_does_not_stop_the_announcement(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    claimed = tmp_path / "claimed"
    machine.start([sys.executable, "-m", "tests.support.mdns_claimer", "eth0"], claimed)
    wait_until(lambda: "claiming" in claimed.read_text(), claimed)
    Provider(lab, tmp_path).wait_for("announce.shown")
    # One that runs to its end waits seconds for each claimed name, which nothing resolves.
    found = tmp_path / "found"
    machine.start([needed("avahi-browse", "avahi-utils"), "-rpk", "_phase-image._tcp"], found)
    wait_until(lambda: ";8070;" in found.read_text(), claimed)


def test_a_machine_of_the_same_name_is_not_confused_with_the_provider(
    lab: Lab, machine: AvahiHost, tmp_path: Path
) -> None:
    publish = needed("avahi-publish", "avahi-utils")
    taken = tmp_path / "taken"
    machine.start([publish, "-a", "-R", f"{host_label()}.local", "10.77.0.2"], taken)
    wait_until(lambda: "Established" in taken.read_text(), taken)
    provider = Provider(lab, tmp_path)
    provider.wait_for("announce.shown")
    ours = [found for found in machine.browse() if BRIDGE in found[3] and found[2] == "IPv4"]
    assert [found[7] for found in ours] == [IPV4]
    name = ours[0][6]
    assert re.fullmatch(host_label() + r"-[0-9a-f]{12}\.local", name)
    assert texts(ours[0])["mirror"] == f"http://{name}:8070{MANIFEST}"


def test_an_interface_that_gets_its_address_later_is_announced_on_then(
    lab: Lab, tmp_path: Path
) -> None:
    lab.run(["sh", "-c", "ip link add late0 type veth peer late1 && ip link set late1 up"])
    provider = Provider(lab, tmp_path, "--interface", "late0")
    wait_until(lambda: "serve.started" in provider.log.read_text(), provider.log)
    assert provider.events_of("announce.shown", "late0") == []
    lab.run(["sh", "-c", "ip addr add 10.99.0.1/24 dev late0 && ip link set late0 up"])
    provider.wait_for("announce.shown", interface="late0")
    assert provider.events_of("announce.shown") == []
    lab.run(["ip", "addr", "flush", "dev", "late0"])
    provider.wait_for("announce.withdrawn", interface="late0")
    lab.run(["ip", "addr", "add", "10.99.0.2/24", "dev", "late0"])
    provider.wait_for("announce.shown", 2, interface="late0")


def test_a_machine_without_a_network_starts_serving(lab: Lab, tmp_path: Path) -> None:
    lonely = lab.command(["unshare", "--net", sys.executable, "-m", "phase_boot.cli", "serve"])
    site = make_site(tmp_path / "site")
    with subprocess.Popen([*lonely, str(site)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "serve.started"
        process.terminate()
