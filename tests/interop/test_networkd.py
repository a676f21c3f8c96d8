"""The seed's files in a real systemd-networkd, and what is read back of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from image.lab.network import BRIDGE, Lab
from tests.support.required_programs import absent

pytestmark = pytest.mark.interop

BASE = Path("image/base/root").absolute()
NETWORKD = Path("/usr/lib/systemd/systemd-networkd")
PRIVATE = BASE / "etc/systemd/network/05-private.network"
WIRED = BASE / "etc/systemd/network/10-wired.network"
LOCAL = Path("image/seed/root/etc/systemd/network/06-local.network").absolute()
DRAW = BASE / "usr/lib/phase-boot/private-address.sh"
OWN = ("a file system of a disk is mounted", "memory is swapped")
"""What this machine does, and a seed does not."""
GUEST = f"""set -e
hostname "$(cat /etc/hostname)"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/network /run/phase-boot
chown -R systemd-network /run/systemd/netif
cp "$1" /run/systemd/network/00-test.network
chmod 644 /run/systemd/network/00-test.network
mount -t sysfs -o ro sysfs /sys
echo ready
read -r plugged
sh {DRAW} card0 >&2
ip link set lo up
{NETWORKD} >&2 &
status=0
{sys.executable} -m tests.support.address_read_back || status=$?
kill $!
exit $status
"""


@dataclass(frozen=True)
class ReadBack:
    sentences: list[str]
    identifiers: list[str]
    routes: list[str]
    states: list[str]


def read_back(file: Path, folder: Path) -> ReadBack:
    """Have networkd set up a card by ``file`` alone, and return what is read back."""
    if not NETWORKD.exists():
        absent(f"{NETWORKD} is not here: run `apt-get install systemd`")
    if os.geteuid() != 0:
        pytest.skip("only root can start networkd, which becomes its own user")
    # A card of a namespace is a veth; what it is matched by is all that differs from the seed.
    conditions = ("Type=", "Kind=", "KernelCommandLine=", "Property=")
    lines = [line for line in file.read_text().splitlines() if not line.startswith(conditions)]
    copy = folder / "test.network"
    copy.write_text("\n".join(lines).replace("[Match]", "[Match]\nName=card0") + "\n")
    with Lab(dns=True) as lab:
        lab.run(["sh", "-c", f"ip link add card0 type veth peer name far0 && {ATTACH}"])
        words = ["unshare", "--net", "--mount", "--uts", "sh", "-c", GUEST, "guest", str(copy)]
        guest = lab.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert guest.stdin is not None
        assert guest.stdout is not None
        assert guest.stdout.readline() == b"ready\n"
        plug(lab, "card0", into=words[-1])
        guest.stdin.write(b"plugged\n")
        guest.stdin.flush()
        output, _ = guest.communicate(timeout=90)
        assert guest.returncode == 0
    return ReadBack(**json.loads(output))


ATTACH = f"ip link set far0 master {BRIDGE} up"


def plug(lab: Lab, card: str, *, into: str) -> None:
    """Move a card into the network namespace of the process whose last word is ``into``."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == b"sh" and into.encode() in words:
                enter = ["nsenter", "--target", lab.command(["true"])[2], "--net", "--"]
                move = ["ip", "link", "set", card, "netns", entry.name]
                subprocess.run([*enter, *move], check=True)
                return
        time.sleep(0.05)
    raise AssertionError(f"no process has the word {into}")


def of_the_seed(found: ReadBack) -> list[str]:
    return [each for each in found.sentences if not each.startswith(OWN)]


def test_the_settings_of_private_take_effect_in_networkd(tmp_path: Path) -> None:
    found = read_back(PRIVATE, tmp_path)
    assert of_the_seed(found) == []
    # A lease and a client of both families were there to be judged.
    assert sorted(found.identifiers) == ["card0 DUID", "card0 IAID", "card0 client"], found.states


def test_the_settings_of_internet_break_the_private_promises_and_add_a_route(
    tmp_path: Path,
) -> None:
    found = read_back(WIRED, tmp_path)
    reasons = " ".join(of_the_seed(found))
    assert "the same in every boot" in reasons
    assert "networkd does not apply" in reasons
    assert found.routes == ["card0"]


def test_in_local_networkd_takes_no_route_beyond_the_lan(tmp_path: Path) -> None:
    assert read_back(LOCAL, tmp_path).routes == []
