"""A second machine on the bridge of a lab, with its own name and avahi daemon."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.lab.network import BRIDGE, Lab
from tests.support.required_programs import SYSTEM_PATH, needed

BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/>
<allow own="*"/></policy></busconfig>
"""
AVAHI: Final = """[server]
host-name=neighbour
use-ipv4=yes
use-ipv6=yes
[publish]
publish-workstation=no
"""
_HOLD: Final = 'read -r pid rest < /proc/self/stat; echo "$pid $$"; exec sleep infinity'
_SET_UP: Final = """set -e
hostname neighbour
mount -t tmpfs tmpfs /run
mkdir -p /run/avahi-daemon
ip link set lo up
ip link set eth0 up
ip addr add 10.77.0.2/24 dev eth0
ip addr add fd77:b007::2/64 dev eth0 nodad
"""


@dataclass(frozen=True)
class AvahiHost:
    """Runs programs on the second machine."""

    lab: Lab
    enter: tuple[str, ...]
    bus: Path

    def command(self, argv: Sequence[str]) -> list[str]:
        return self.lab.command([*self.enter, *argv])

    def start(self, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return self.lab.popen(
                [*self.enter, *argv], stdout=out, stderr=out, env=self.environment()
            )

    def run(self, argv: Sequence[str]) -> str:
        done = subprocess.run(
            self.command(argv),
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            env=self.environment(),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environment(self) -> dict[str, str]:
        address = f"unix:path={self.bus}"
        return {
            **os.environ,
            "PATH": SYSTEM_PATH,
            "DBUS_SYSTEM_BUS_ADDRESS": address,
            "LC_ALL": "C",
        }

    def browse(self) -> list[list[str]]:
        """Return the services that avahi finds, one list of fields per address family."""
        out = self.run([needed("avahi-browse", "avahi-utils"), "-rptk", "_phase-image._tcp"])
        return [line.split(";") for line in out.splitlines() if line.startswith("=")]


@contextmanager
def neighbour(lab: Lab) -> Iterator[AvahiHost]:
    """Attach a machine that runs avahi to the bridge; the lab ends it."""
    for program, package in (("dbus-daemon", "dbus"), ("avahi-daemon", "avahi-daemon")):
        needed(program, package)
    holder = lab.popen(
        ["unshare", "--net", "--uts", "--mount", "sh", "-c", _HOLD], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    outer, inner = holder.stdout.readline().decode().split()
    lab.run(["ip", "link", "add", "cable", "type", "veth", "peer", "name", "eth0", "netns", inner])
    lab.run(["ip", "link", "set", "cable", "master", BRIDGE, "up"])
    enter = ("nsenter", "--target", outer, "--net", "--uts", "--mount", "--")
    machine = AvahiHost(lab, enter, lab.folder / "bus")
    machine.run(["sh", "-c", _SET_UP])
    (lab.folder / "bus.conf").write_text(BUS.format(path=machine.bus))
    (lab.folder / "avahi.conf").write_text(AVAHI)
    log = lab.folder / "avahi.log"
    machine.start(["dbus-daemon", f"--config-file={lab.folder / 'bus.conf'}", "--nofork"], log)
    wait_until(machine.bus.exists, log)
    words = ["--no-drop-root", "--no-chroot", "--no-rlimits"]
    machine.start(["avahi-daemon", f"--file={lab.folder / 'avahi.conf'}", *words], log)
    wait_until(lambda: "startup complete" in log.read_text(), log)
    with holder.stdout:
        yield machine


def wait_until(condition: object, log: Path, seconds: float = 30) -> None:
    """Wait for a condition, or fail with the content of ``log``."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
