"""T1 over IPFS alone: no provider is on the LAN, and no mirror has the publisher's site.

The stick knows one peer of the DHT and the announcing key of its root. Kubo nodes beyond a slow
link have the record in the DHT, and every byte at a gateway that the record names, or at no HTTP
server at all.
"""

from __future__ import annotations

import gzip
import random
import shutil
import time
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import PROGRAM
from image.lab.wan import WanLink, WanNetwork
from phase_boot.content.arch import Arch
from tests.e2e.bare_kernel import with_init
from tests.support.boot_images import CHANNEL, Published, program
from tests.support.boots import (
    BOOT_SECONDS,
    BOTH,
    GOING_WRONG,
    STRAIGHT_ON,
    moves,
    replayed,
    sources,
    stored_and_sound,
)
from tests.support.lab_kubo import (
    GATEWAY_ADDRESS,
    GATEWAY_PORT,
    GATEWAY_URL,
    HOLDER,
    announce,
    kubo_pair,
    multiaddr,
)

pytestmark = pytest.mark.e2e

FAR = WanLink(megabits=100, milliseconds=10)
VERSION = "2026.1"
SAYS_WHAT_IT_IS = 'echo "started: $(cat /proc/cmdline)"'
BITSWAP_SECONDS = 2 * BOOT_SECONDS
"""The process for libp2p receives some 100 kB/s on an emulated processor."""
TARGET_SECONDS = 120.0


@BOTH
def test_a_stick_boots_over_ipfs_alone(arch: Arch, published: Published, tmp_path: Path) -> None:
    with Lab() as lab:
        network = WanNetwork(lab, FAR)
        with kubo_pair(lab, network, tmp_path) as (holder, _):
            announce(holder, published.site, published.announcer, "--provider", GATEWAY_ADDRESS)
            with Machine(
                published.ipfs_stick,
                hardware=published.hardware,
                lab=lab,
                name=f"ipfs-{arch}",
            ) as machine:
                report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)

                assert report.text("version") == str(published.manifest.version)
                assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
                assert moves(machine) == STRAIGHT_ON
                (found,) = machine.events_named("candidate.found")
                assert found.text("finder") == "wan"
                assert found.text("url").startswith(f"{GATEWAY_URL}/ipfs/")
                assert len(machine.events_named("record.accepted")) == 1
                assert set(sources(machine.events_named("fetch.done")).values()) == {GATEWAY_URL}
                assert replayed(machine, tmp_path)[-1] == "kexec"
                artifacts = published.manifest.artifacts.values()
                assert stored_and_sound(machine) == {each.digest.hex for each in artifacts}


@BOTH
@pytest.mark.e2e_all
def test_a_stick_boots_by_bitswap_where_no_http_server_has_a_byte(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    site = small_site(published, tmp_path)
    with Lab() as lab:
        network = WanNetwork(lab, FAR)
        with kubo_pair(lab, network, tmp_path, gateways=False) as (holder, _):
            assert network.run(["ss", "-Htln", "sport", "=", f":{GATEWAY_PORT}"]) == ""
            announce(holder, site, published.announcer, "--provider", multiaddr(HOLDER))
            with Machine(
                published.ipfs_stick,
                hardware=published.hardware,
                lab=lab,
                name=f"bitswap-{arch}",
            ) as machine:
                machine.wait_for("kexec.jump", timeout=BITSWAP_SECONDS, fail_on=GOING_WRONG)
                started = target_says(machine, "started: ")

                assert f"phase.version={VERSION}" in started
                assert moves(machine) == STRAIGHT_ON
                (verified,) = machine.events_named("manifest.verified")
                assert verified.text("url").startswith("ipfs://")
                assert set(sources(machine.events_named("fetch.done")).values()) == {"bitswap"}
                assert replayed(machine, tmp_path)[-1] == "kexec"
                stored = {file.name for file in (site / "cas/sha256").iterdir()}
                assert stored_and_sound(machine) <= stored
                assert len(stored) == len(sources(machine.events_named("fetch.done")))


def small_site(published: Published, folder: Path) -> Path:
    """Publish the target's kernel with an init that prints one line, and a rootfs of 1 MiB.

    The kernel is 12 to 14 MB of the 17 to 18 MB: no smaller one is built.
    """
    kernel, initramfs = (published.artifact(name).read_bytes() for name in ("kernel", "initramfs"))
    if published.arch is Arch.ARM64:
        # A third of the bytes; the stick unpacks it, as each boot loader does.
        kernel = gzip.compress(kernel, mtime=0)
    rootfs = random.Random(VERSION).randbytes(1 << 20)  # noqa: S311 - repeatable, not secret
    files = {"kernel": kernel, "initramfs": with_init(initramfs, SAYS_WHAT_IT_IS), "rootfs": rootfs}
    options = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        options += [f"--{name}", str(folder / name)]
    site = folder / "site"
    shutil.copytree(published.site / "root", site / "root")
    options += ["--channel", CHANNEL, "--arch", str(published.arch), "--version", VERSION]
    options += ["--cmdline", published.manifest.cmdline, "--key", str(published.key)]
    options += ["--expires", "+90d"]
    program(str(PROGRAM), "publish", "--out", str(site), *options)
    return site


def target_says(machine: Machine, what: str) -> str:
    """Return the line with ``what`` on the console, once the target wrote it."""
    deadline = time.monotonic() + TARGET_SECONDS
    while True:
        text = (machine.folder / "console.log").read_text(errors="replace")
        if found := [line for line in text.splitlines() if what in line]:
            return found[-1]
        assert time.monotonic() < deadline, text[-2000:]
        time.sleep(0.5)
