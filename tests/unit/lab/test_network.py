"""The lab on this host's kernel; a host without namespaces fails these tests."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from image.lab.namespace import LabError, stop
from image.lab.network import IPV4, IPV6, Lab

MAKER = """
import subprocess, sys, time
from image.lab.network import Lab
with Lab() as lab:
    child = lab.popen(["sleep", "MARK"])
    print(lab.folder, flush=True)
    time.sleep(60)
"""


def running(mark: str, program: str = "") -> list[str]:
    """Return processes with the argument `mark`, including those that start others in the lab."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words and (not program or words[0] == program.encode()):
            found.append(folder.name)
    return found


def soon(holds: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + 10
    while not holds():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def gone(mark: str) -> bool:
    return soon(lambda: not running(mark))


def answers(lab: Lab, url: str) -> bool:
    try:
        return bool(lab.http_get(url))
    except LabError:
        return False


def test_a_lab_has_a_bridge_with_both_families_and_nothing_of_the_host() -> None:
    with Lab() as lab:
        shown = lab.run(["ip", "-o", "addr", "show"])
    assert f"{IPV4}/24" in shown
    assert f"{IPV6}/64" in shown
    assert re.search(r"br0\s+inet6 fe80:", shown)
    assert "tentative" not in "".join(line for line in shown.splitlines() if "br0" in line)
    assert "eth0" not in shown


def test_two_labs_at_once_are_isolated() -> None:
    with Lab() as one, Lab() as two:
        serve = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"
        one.popen(
            [sys.executable, "-c", serve], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert soon(lambda: answers(one, f"http://{IPV4}:8000/"))
        with pytest.raises(LabError, match="refused"):
            two.http_get(f"http://{IPV4}:8000/")


def test_every_machine_gets_a_port_of_its_own() -> None:
    with Lab(dhcp=False) as lab:
        one, two = lab.add_nic(), lab.add_nic()
        assert one.mac != two.mac
        ports = lab.run(["ip", "-br", "link", "show", "master", "br0"])
    assert one.port in ports
    assert two.port in ports


def test_ports_have_no_address_that_a_provider_would_announce() -> None:
    with Lab(dhcp=False) as lab:
        lab.add_nic()
        rows = lab.run(["ip", "-o", "addr", "show"]).splitlines()
        links = re.findall(r"^\d+: (\w+)", lab.run(["ip", "-o", "link", "show"]), re.MULTILINE)
        advertised = [
            lab.run(["cat", f"/proc/sys/net/ipv6/conf/{link}/accept_ra"]).strip()
            for link in set(links) - {"lo"}
        ]
    assert {row.split()[1] for row in rows} == {"lo", "br0"}
    assert len(advertised) >= len(["bridge", "port", "carrier", "carrier"])
    assert set(advertised) == {"0"}


def test_an_error_in_the_block_leaves_no_process_and_no_folder() -> None:
    mark = f"60.1{os.getpid()}"
    lab = Lab()

    def fail() -> Path:
        with lab:
            lab.popen(["sleep", mark])
            folders.append(lab.folder)
            raise RuntimeError("within")

    folders: list[Path] = []
    with pytest.raises(RuntimeError, match="within"):
        fail()
    (folder,) = folders
    assert gone(mark)
    assert not folder.exists()
    with pytest.raises(LabError, match="closed"):
        lab.run(["true"])


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_lab_ends_when_its_owner_exits_or_is_killed(end: signal.Signals) -> None:
    mark = f"60.2{os.getpid()}{end.value}"
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER.replace("MARK", mark)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert maker.stdout is not None
    folder = Path(maker.stdout.readline().decode().strip())
    assert soon(lambda: bool(running(mark)))
    maker.send_signal(end)
    maker.communicate(timeout=20)
    assert gone(mark)
    assert soon(lambda: not folder.exists())


def test_ending_a_popen_ends_the_program_in_the_lab() -> None:
    mark = f"60.3{os.getpid()}"
    with Lab(dhcp=False) as lab:
        child = lab.popen(["sleep", mark])
        assert soon(lambda: bool(running(mark, program="sleep")))
        child.terminate()
        child.wait()
        assert gone(mark)


def test_a_stopped_program_has_exited() -> None:
    slow = "trap 'sleep 0.5; echo done >\"$0\"; exit' TERM; echo up; while :; do sleep 0.1; done"
    with Lab(dhcp=False) as lab:
        last = lab.folder / "last"
        child = lab.popen(["sh", "-c", slow, str(last)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == b"up\n"
            stop(child)
        assert last.read_text() == "done\n"


def test_the_error_of_a_failing_command_holds_its_output() -> None:
    with Lab(dhcp=False) as lab, pytest.raises(LabError, match=r"ended with 3: of its own"):
        lab.run(["sh", "-c", "echo of its own >&2; exit 3"])


def test_frames_pass_by_the_relay_without_a_tap_device() -> None:
    with Lab(dhcp=False, taps=False) as lab, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as vm:
        nic = lab.add_nic()
        options = dict(word.split("=", 1) for word in nic.netdev.split(",")[1:])
        vm.bind(options["local.path"])
        vm.settimeout(10)
        vm.sendto(who_has(nic.mac, "10.77.0.9", IPV4), options["remote.path"])
        mine = bytes.fromhex(nic.mac.replace(":", ""))
        while (frame := vm.recv(2000))[:6] != mine:
            pass
    assert frame[12:14] == b"\x08\x06"
    assert frame[28:32] == socket.inet_aton(IPV4)


def who_has(mac: str, mine: str, wanted: str) -> bytes:
    sender = bytes.fromhex(mac.replace(":", ""))
    ethernet = b"\xff" * 6 + sender + b"\x08\x06"
    kind = bytes.fromhex("0001080006040001")
    frame = ethernet + kind + sender + socket.inet_aton(mine) + bytes(6) + socket.inet_aton(wanted)
    return frame.ljust(60, b"\0")
