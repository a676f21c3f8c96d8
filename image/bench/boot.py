"""`make bench-boot`: the duration of a boot by stage, compared with a minimal shell script.

The script, like the daemon, downloads the target, checks its digest and starts it by kexec. Runs of
both alternate, on the same stick, hardware and provider. Times are seconds of the guest's kernel
where it can measure them, and seconds of the host otherwise.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from image.bench.results import (
    FOLDER,
    Bench,
    Row,
    Threshold,
    host_description,
    replace_rows,
    table,
)
from image.lab.accel import choose_accel
from image.lab.boot_timing import REPORT, boot_stages
from image.lab.disk_image import DiskImage
from image.lab.event_log import MachineFailed
from image.lab.machine import FAILURES, Machine
from image.lab.network import Lab
from image.lab.provider_process import expected_manifest, start_provider
from image.lab.qemu_args import Hardware
from phase_boot.app import edge
from phase_boot.content.arch import Arch

MIB: Final = 1024 * 1024
RESULT: Final = FOLDER / "boot.json"
REFERENCE: Final = "busybox script"
SHARED: Final = frozenset(
    {"firmware and loader", "firmware", "boot loader", "kernel", "initramfs", "jump to the target"}
)
"""The stages that the reference has too."""
SECONDS: Final = 600.0
MAX_RETRIES: Final = 3
HALF_PATCHED: Final = b"Oops: int3"
SQUASHFS_MAGIC: Final = b"hsqs"
JUMP_THRESHOLD: Final = Threshold(2.0, of_peer=True)
SEED_THRESHOLD: Final = Threshold(72.0)
INITRAMFS_THRESHOLD: Final = Threshold(8.0)
DAEMON_THRESHOLD: Final = Threshold(96.0)
MEMORY_THRESHOLD: Final = Threshold(768.0)


@dataclass(slots=True)
class Measurements:
    """Values of the runs so far: seconds by stage and in total, and the daemon's peak memory."""

    stages: dict[str, list[float]] = field(default_factory=dict)
    jump: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, write its rows, and print them."""
    parser = argparse.ArgumentParser(prog="python -m image.bench.boot", description=__doc__)
    parser.add_argument("--arch", type=Arch.parse, default=Arch.AMD64)
    parser.add_argument("--channel", default="stable")
    parser.add_argument("--root", type=Path, default=Path("roots/1.json"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    rows = bench(options)
    replace_rows(options.out, rows)
    print("\n".join(table(rows)))
    return 0


def bench(options: argparse.Namespace) -> list[Row]:
    """Boot `runs` times with the daemon and with the script, and return the rows."""
    arch: Arch = options.arch
    site, image = Path(f"dist/site-{arch}"), Path(f"build/bench/phase-boot-{arch}.img")
    manifest = expected_manifest(site, arch, options.channel, options.root)
    kernel = site / "cas" / "sha256" / manifest.artifacts["kernel"].digest.hex
    hardware = Hardware(
        arch=arch, memory=768, accel=choose_accel(arch, kernel).accel, parallel_tcg=True
    )
    ours, reference = Measurements(), Measurements()
    for number in range(1, options.runs + 1):
        measure_with_retries(image, site, hardware, ours)
        measure_with_retries(image, site, hardware, reference, reference=True)
        print(
            f"run {number} of {options.runs}: {ours.jump[-1]:.1f} s to the jump, "
            f"{REFERENCE} {reference.jump[-1]:.1f} s",
            flush=True,
        )
    about = Bench(arch=str(arch), machine=host_description(), accel=str(hardware.accel))
    return [*_times(about, ours, reference), *_sizes(about, image, hardware, ours)]


def measure_with_retries(
    image: Path, site: Path, hardware: Hardware, into: Measurements, *, reference: bool = False
) -> None:
    """Call `measure`, again if the emulator crashed the guest (see `QemuPlatform.tcg_threads`)."""
    for left in reversed(range(MAX_RETRIES + 1)):
        try:
            return measure(image, site, hardware, into, reference=reference)
        except MachineFailed as failure:
            log = FAILURES / boot_name(hardware, reference=reference) / "console.log"
            if not left or HALF_PATCHED not in log.read_bytes():
                raise
            print(
                f"repeating the boot, because the emulator crashed the guest: {failure}", flush=True
            )
    return None


def boot_name(hardware: Hardware, *, reference: bool) -> str:
    """Return the machine's name."""
    return f"bench-{'reference' if reference else 'boot'}-{hardware.arch}"


def measure(
    image: Path, site: Path, hardware: Hardware, into: Measurements, *, reference: bool = False
) -> None:
    """Boot once, from power-on to the target's report, and add the values to `into`."""
    with Lab() as lab:
        urls = start_provider(lab, site).urls
        cmdline = f"phase.reference={urls[0]}" if reference else ""
        name = boot_name(hardware, reference=reference)
        with Machine(image, hardware=hardware, lab=lab, name=name, cmdline=cmdline) as machine:
            report = machine.wait_for(
                REPORT, timeout=SECONDS, fail_on=("shell.opened", "run.ended")
            )
            for stage in boot_stages(machine.events, machine.started):
                into.stages.setdefault(stage.name, []).append(stage.seconds)
            into.total.append(report.arrived - machine.started)
            into.jump.append(max(event.at for event in machine.events if event.name != REPORT))
            for event in machine.events_named("kexec.jump"):
                into.rss.append(event.number("rss_peak") / MIB)


def _times(about: Bench, ours: Measurements, reference: Measurements) -> list[Row]:
    jump = about.row("kernel start to kexec", "s", ours.jump)
    total = about.row("power-on to target's report", "s", ours.total)
    rows = [
        about.compare(jump, REFERENCE, reference.jump, threshold=JUMP_THRESHOLD),
        about.compare(total, REFERENCE, reference.total),
    ]
    for name, runs in ours.stages.items():
        row = about.row(name, "s", runs)
        theirs = reference.stages.get(name) if name in SHARED else None
        rows.append(about.compare(row, REFERENCE, theirs) if theirs else row)
    return rows


def _sizes(about: Bench, image: Path, hardware: Hardware, ours: Measurements) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="phase-bench-") as folder:
        stick = DiskImage.copy_of(image, Path(folder) / "stick.img")
        initramfs = len(stick.boot_file("initrd")) / MIB
        kernel = len(stick.boot_file("linux")) / MIB
        seed = squashfs_bytes(stick.partition("phase-seed")[:96]) / MIB
    written = image.stat().st_blocks * 512 / MIB
    return [
        about.row("daemon's peak memory", "MiB", ours.rss, threshold=DAEMON_THRESHOLD),
        about.row("memory of the machine", "MiB", [hardware.memory], threshold=MEMORY_THRESHOLD),
        about.row("seed squashfs", "MiB", [seed], threshold=SEED_THRESHOLD),
        about.row("seed initramfs", "MiB", [initramfs], threshold=INITRAMFS_THRESHOLD),
        about.row("seed kernel", "MiB", [kernel]),
        about.row("image file, allocated", "MiB", [written]),
    ]


def squashfs_bytes(superblock: bytes) -> int:
    """Return the size of a squashfs in bytes, from its superblock.

    Raises:
        ValueError: it is no squashfs.
    """
    if superblock[:4] != SQUASHFS_MAGIC:
        raise ValueError("The Seed partition holds no squashfs.")
    (used,) = struct.unpack_from("<Q", superblock, 40)
    return int(used)


if __name__ == "__main__":
    sys.exit(edge.run(main))
