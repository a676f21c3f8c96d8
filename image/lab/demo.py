"""`make demo`: from nothing to a machine that runs, and reports, what was signed for it.

`python -m image.lab.demo --arch amd64`. Exit status 0 only if the booted system itself reports the
published version and the sha256 of the rootfs that the signed manifest names, both on its events
port and over HTTP, and if the first job that it then ran proves itself by a receipt.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from image.lab.accel import choose
from image.lab.boot_timing import REPORT, stages, table
from image.lab.disk_image import StickError
from image.lab.guest_events import Event
from image.lab.machine import Machine, MachineFailed
from image.lab.network import IPV4, Lab, LabError
from image.lab.provider_process import expected_manifest, start_provider
from image.lab.qemu_args import QEMU_PLATFORMS, Accel, Hardware
from image.lab.receipt_check import PLASMA_DONE, NotProved, proof, story
from phase_boot.app import edge
from phase_boot.console.display import COLUMNS, display_of
from phase_boot.console.lines import CLEAR, LEAST_COLUMNS, Console
from phase_boot.content.arch import Arch
from phase_boot.publish.errors import PublishError
from phase_boot.publish.keys.keyfile import read_keyfile
from phase_boot.publish.roots.folder import anchored
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal

DEADLINE: Final = 600.0


class DemoFailed(Exception):
    """The demo cannot go on; the text is one sentence for the terminal."""


FAILURES: Final = (
    DemoFailed,
    LabError,
    MachineFailed,
    NotProved,
    PublishError,
    Refusal,
    StickError,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show a verified boot, and return the exit status."""
    options = parser().parse_args(arguments)
    try:
        demo(options)
    except FAILURES as error:
        print("\n".join(["", f"The demo failed: {error}", *getattr(error, "__notes__", ())]))
        return 1
    except KeyboardInterrupt:
        print("\nEnded; nothing is left running.")
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    words = argparse.ArgumentParser(prog="python -m image.lab.demo", description=__doc__)
    words.add_argument("--arch", type=Arch.parse, default=Arch.AMD64, help="amd64 or arm64")
    words.add_argument("--channel", default="stable")
    words.add_argument("--root", type=Path, default=Path("roots/1.json"))
    words.add_argument("--key", type=Path, default=Path("publisher.key"))
    words.add_argument("--memory", type=int, default=768, help="of the machine, in MiB")
    words.add_argument("--disk", choices=("virtio", "usb"), default="virtio")
    return words


def demo(options: argparse.Namespace) -> None:
    """Build, publish, serve, boot, and compare.

    Raises one of the errors that `main` tells as a sentence.
    """
    arch: Arch = options.arch
    site, image = Path(f"dist/site-{arch}"), Path(f"dist/phase-boot-{arch}.img")
    print(f"Phase Boot: a verified boot of {arch}, from packages to a running system\n")
    key, root = read_keyfile(options.key).keyid, anchored(options.root)
    _tell("publisher", f"{key[:24]}… in {options.key}")
    digest = f"{str(root.digest)[:17]}…"
    _tell("root", f"root {root.version} ({digest}) in {options.root} names who publishes")
    words = ("--arch", str(arch), "--channel", options.channel, "--root", str(options.root))
    _build("target", "target", *words, "--key", str(options.key), "--site", str(site))
    manifest = expected_manifest(site, arch, options.channel, options.root)
    _tell("", f"{options.channel} {manifest.version}, signed by that key, in {site}")
    _build("stick", "build", *words, "--out", str(image))
    _tell("", f"starts from that root and nothing else: {image}")
    hardware = _hardware(arch, options, site, manifest)
    with Lab() as lab:
        _tell("network", f"a bridge at {IPV4} with DHCP, in a namespace of its own")
        provider = start_provider(lab, site)
        _tell("provider", f"{provider.urls[0]}, announced by mDNS")
        print("\nThe machine is on. Seconds are those of its own kernel.\n", flush=True)
        _boot(Booting(lab, image, hardware), manifest, site)


class Booting:
    """The machine of the demo, and what it shows while it boots."""

    def __init__(self, lab: Lab, image: Path, hardware: Hardware) -> None:
        self.lab = lab
        self._console = Console(_write, display_of(sys.stdout))
        self.machine = Machine(
            image,
            hardware=hardware,
            lab=lab,
            name=f"demo-{hardware.arch}",
            deadline=DEADLINE,
            watch=self._show,
        )

    def _show(self, event: Event) -> None:
        if event.name == REPORT:
            _write(f"{event.at:8.2f}s  target {event.text('version')} reports\n")
            return
        stamp = {"event": event.name, "seq": event.seq, "at": event.at}
        self._console.show({**stamp, **event.fields})


def _boot(booting: Booting, manifest: Manifest, site: Path) -> None:
    with booting.machine as machine:
        report = machine.until(REPORT, timeout=DEADLINE, unless=("shell.opened", "run.ended"))
        over_http = json.loads(machine.ask("/report.json"))
        took = report.arrived - machine.started
        print("\nWhere the time went:\n")
        columns = display_of(sys.stdout).columns()
        print("\n".join(table(stages(machine.events, machine.started), took, columns)))
        for said, how in ((report.fields, "its events port"), (over_http, "HTTP")):
            _compare(said, manifest, how)
        machine.until(PLASMA_DONE, timeout=DEADLINE)
        found = proof(machine.events, site, manifest)
    print("\nThe target was told by the seed:\n")
    _tell_handed(over_http["handed"])
    rootfs = manifest.artifacts["rootfs"].digest
    print(f"\nThe system that was signed is the one that runs: version {manifest.version},")
    print(f"rootfs {rootfs},\nas it reports itself on its events port and over HTTP.")
    print("\nIt ran its first job, and proves that by a receipt:\n")
    for label, text in story(found, site):
        _tell(label, text)


def _tell_handed(handed: Mapping[str, Any]) -> None:
    """Show what the target found in the hand-over document."""
    network = handed["network"]
    _tell("network", " ".join([network["interface"], *network["addresses"]]))
    _tell("routers", " ".join(network["gateways"]) or "none")
    _tell("names", " ".join(network["dns"]) or "none")
    for name, source in handed["sources"].items():
        _tell(name, f"from {source}")
    _tell("journal", f"{handed['events']} events")


def _compare(said: Mapping[str, object], manifest: Manifest, how: str) -> None:
    wanted = {
        "version": str(manifest.version),
        "rootfs": str(manifest.artifacts["rootfs"].digest),
        "arch": str(manifest.arch),
    }
    for name, value in wanted.items():
        if said.get(name) != value:
            raise DemoFailed(
                f"the target reports {name} {said.get(name)!r} by {how}, "
                f"and what was signed is {value!r}."
            )


def _build(label: str, *words: str) -> None:
    """Run the builder; its steps pass by on one line, and stay where there is no terminal."""
    started = time.monotonic()
    builder = subprocess.Popen(
        [sys.executable, "-m", "image", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    display = display_of(sys.stdout)
    with builder:
        for line in builder.stdout or ():
            said.append(line.rstrip())
            if display.moves:
                shown = f"  {label:<10}{line.strip()}"
                _write(f"\r{CLEAR}{shown[: display.columns()]}")
    _write(f"\r{CLEAR}" if display.moves else "")
    if builder.returncode:
        raise DemoFailed("\n".join([f"the {label} was not built:", *said[-20:]]))
    fresh = sum(line.endswith("[now]") for line in said)
    kept = sum(line.endswith("[kept]") for line in said)
    took = time.monotonic() - started
    _tell(label, f"{fresh} steps done, {kept} kept from before, {took:.0f} s")


def _hardware(arch: Arch, options: argparse.Namespace, site: Path, manifest: Manifest) -> Hardware:
    board = QEMU_PLATFORMS[arch]
    kernel = site / "cas" / "sha256" / manifest.artifacts["kernel"].digest.hex
    verdict = choose(arch, kernel)
    firmware = board.code.parent.name
    how = "KVM" if verdict.accel is Accel.KVM else "emulated"
    about = f"{options.memory} MiB, UEFI firmware {firmware}, {how}: {verdict.reason}"
    _tell("machine", about)
    return Hardware(arch=arch, memory=options.memory, disk=options.disk, accel=verdict.accel)


def _tell(label: str, text: str) -> None:
    line = f"  {label:<10}{text}"
    display = display_of(sys.stdout)
    if display.folds:
        columns = max(LEAST_COLUMNS, min(COLUMNS, display.columns()))
        line = textwrap.fill(line, columns, subsequent_indent=" " * 12)
    print(line, flush=True)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(edge.run(main))
