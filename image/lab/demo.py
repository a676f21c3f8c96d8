"""`make demo`: build, publish and serve a target, boot it in a virtual machine, check the result.

The exit status is 0 only if the booted system reports the published version and the rootfs digest
of the signed manifest, on its events port and over HTTP, and if the receipt of its first job is
valid.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from image.lab.accel import choose_accel
from image.lab.boot_timing import REPORT, boot_stages, table
from image.lab.disk_image import DiskImageError
from image.lab.event_log import MachineFailed
from image.lab.guest_events import Event
from image.lab.machine import Machine
from image.lab.namespace import LabError
from image.lab.network import IPV4, Lab
from image.lab.provider_process import expected_manifest, start_provider
from image.lab.qemu_args import QEMU_PLATFORMS, Accel, Hardware
from image.lab.receipt_check import PLASMA_DONE, ReceiptCheckFailed, check_first_receipt, describe
from phase_boot.app import edge
from phase_boot.console.display import COLUMNS, display_of
from phase_boot.console.lines import CLEAR, LEAST_COLUMNS, Console
from phase_boot.content.arch import Arch
from phase_boot.publish.errors import PublishError
from phase_boot.publish.keys.keyfile import read_keyfile
from phase_boot.publish.roots.folder import load_trusted
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal

DEADLINE: Final = 600.0


class DemoFailed(Exception):
    """The demo cannot continue; the message is one sentence."""


FAILURES: Final = (
    DemoFailed,
    LabError,
    MachineFailed,
    ReceiptCheckFailed,
    PublishError,
    Refusal,
    DiskImageError,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = parser().parse_args(arguments)
    try:
        demo(options)
    except FAILURES as error:
        print("\n".join(["", f"The demo failed: {error}", *getattr(error, "__notes__", ())]))
        return 1
    except KeyboardInterrupt:
        print("\nStopped; no process is left running.")
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m image.lab.demo", description=__doc__)
    found.add_argument("--arch", type=Arch.parse, default=Arch.AMD64, help="amd64 or arm64")
    found.add_argument("--channel", default="stable", help="channel of the release")
    found.add_argument("--root", type=Path, default=Path("roots/1.json"), help="root of trust")
    found.add_argument(
        "--key", type=Path, default=Path("publisher.key"), help="publisher's key file"
    )
    found.add_argument("--memory", type=int, default=768, help="RAM of the machine, in MiB")
    found.add_argument("--disk", choices=("virtio", "usb"), default="virtio", help="stick's bus")
    return found


def demo(options: argparse.Namespace) -> None:
    """Build, publish, serve, boot and compare; raises one of FAILURES."""
    arch: Arch = options.arch
    site, image = Path(f"dist/site-{arch}"), Path(f"dist/phase-boot-{arch}.img")
    print(f"Phase Boot: a verified boot of {arch}, from packages to a running system\n")
    key, root = read_keyfile(options.key).keyid, load_trusted(options.root)
    _print("publisher", f"{key[:24]}… in {options.key}")
    digest = f"{str(root.digest)[:17]}…"
    _print("root", f"root {root.version} ({digest}) in {options.root} names the publishers")
    common = ("--arch", str(arch), "--channel", options.channel, "--root", str(options.root))
    _build("target", "target", *common, "--key", str(options.key), "--site", str(site))
    manifest = expected_manifest(site, arch, options.channel, options.root)
    _print("", f"{options.channel} {manifest.version}, signed by that key, in {site}")
    _build("stick", "build", *common, "--out", str(image))
    _print("", f"starts from that root and nothing else: {image}")
    hardware = _hardware(arch, options, site, manifest)
    with Lab() as lab:
        _print("network", f"a bridge at {IPV4} with DHCP, in a namespace of its own")
        provider = start_provider(lab, site)
        _print("provider", f"{provider.urls[0]}, announced by mDNS")
        print("\nThe machine is on. Seconds are those of its own kernel.\n", flush=True)
        _boot(DemoMachine(lab, image, hardware), manifest, site)


class DemoMachine:
    """The demo's machine, whose events are printed while it boots."""

    def __init__(self, lab: Lab, image: Path, hardware: Hardware) -> None:
        self.lab = lab
        self._console = Console(_write, display_of(sys.stdout))
        self.machine = Machine(
            image,
            hardware=hardware,
            lab=lab,
            name=f"demo-{hardware.arch}",
            deadline=DEADLINE,
            on_event=self._show,
        )

    def _show(self, event: Event) -> None:
        show_event(event, self._console, _write)


def show_event(event: Event, console: Console, write: Callable[[str], object]) -> None:
    """Print an event of the seed as the seed's console does, and the target's report by `write`."""
    if event.name == REPORT:
        write(f"{event.at:8.2f}s  target {event.text('version')} reports\n")
        return
    stamp = {"event": event.name, "seq": event.seq, "at": event.at}
    console.show({**stamp, **event.fields})


def _boot(demo_machine: DemoMachine, manifest: Manifest, site: Path) -> None:
    with demo_machine.machine as machine:
        report = machine.wait_for(REPORT, timeout=DEADLINE, fail_on=("shell.opened", "run.ended"))
        over_http = json.loads(machine.http_get("/report.json"))
        took = report.arrived - machine.started
        print("\nWhere the time went:\n")
        columns = display_of(sys.stdout).columns()
        print("\n".join(table(boot_stages(machine.events, machine.started), took, columns)))
        for fields, how in ((report.fields, "its events port"), (over_http, "HTTP")):
            _compare(fields, manifest, how)
        machine.wait_for(PLASMA_DONE, timeout=DEADLINE)
        receipt = check_first_receipt(machine.events, site, manifest)
    print("\nThe target read from the handoff document:\n")
    _print_handoff(over_http["handed"])
    rootfs = manifest.artifacts["rootfs"].digest
    print(f"\nThe system that was signed is the one that runs: version {manifest.version},")
    print(f"rootfs {rootfs},\nas it reports itself on its events port and over HTTP.")
    print("\nIt ran its first job, as its receipt shows:\n")
    for label, text in describe(receipt, site):
        _print(label, text)


def _print_handoff(handed: Mapping[str, Any]) -> None:
    """Print what the target read from the handoff document."""
    network = handed["network"]
    _print("network", " ".join([network["interface"], *network["addresses"]]))
    _print("routers", " ".join(network["gateways"]) or "none")
    _print("names", " ".join(network["dns"]) or "none")
    for name, source in handed["sources"].items():
        _print(name, f"from {source}")
    _print("journal", f"{handed['events']} events")


def _compare(fields: Mapping[str, object], manifest: Manifest, how: str) -> None:
    expected = {
        "version": str(manifest.version),
        "rootfs": str(manifest.artifacts["rootfs"].digest),
        "arch": str(manifest.arch),
    }
    for name, value in expected.items():
        if fields.get(name) != value:
            raise DemoFailed(
                f"the target reports {name} {fields.get(name)!r} by {how}, "
                f"and the signed value is {value!r}."
            )


def _build(label: str, *arguments: str) -> None:
    """Run the builder; a terminal shows its steps on one line, one after the other."""
    started = time.monotonic()
    builder = subprocess.Popen(
        [sys.executable, "-m", "image", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output: list[str] = []
    display = display_of(sys.stdout)
    with builder:
        for line in builder.stdout or ():
            output.append(line.rstrip())
            if display.moves:
                shown = f"  {label:<10}{line.strip()}"
                _write(f"\r{CLEAR}{shown[: display.columns()]}")
    _write(f"\r{CLEAR}" if display.moves else "")
    if builder.returncode:
        raise DemoFailed("\n".join([f"the {label} was not built:", *output[-20:]]))
    built = sum(line.endswith("[now]") for line in output)
    kept = sum(line.endswith("[kept]") for line in output)
    took = time.monotonic() - started
    _print(label, f"{built} steps done, {kept} kept from before, {took:.0f} s")


def _hardware(arch: Arch, options: argparse.Namespace, site: Path, manifest: Manifest) -> Hardware:
    platform = QEMU_PLATFORMS[arch]
    kernel = site / "cas" / "sha256" / manifest.artifacts["kernel"].digest.hex
    choice = choose_accel(arch, kernel)
    firmware = platform.code.parent.name
    how = "KVM" if choice.accel is Accel.KVM else "emulated"
    about = f"{options.memory} MiB, UEFI firmware {firmware}, {how}: {choice.reason}"
    _print("machine", about)
    return Hardware(arch=arch, memory=options.memory, disk=options.disk, accel=choice.accel)


def _print(label: str, text: str) -> None:
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
