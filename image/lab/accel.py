"""Whether the host's KVM may be trusted with a guest, decided by trying it.

`PHASE_ACCEL=auto|kvm|tcg` chooses. `auto` takes KVM only for the host's own architecture, where
/dev/kvm opens and a *probe boot* works: a kernel without a root panics, `panic=-1` resets, QEMU
ends. A host whose KVM is there but hangs (nested, half-virtualised) is found out that way.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from image.lab.disk_image import DiskImage
from image.lab.qemu_args import QEMU_PLATFORMS, Accel, Hardware
from phase_boot.content.arch import Arch

VARIABLE: Final = "PHASE_ACCEL"
PROBE_SECONDS: Final = 20.0
CACHED: Final = Path("build/accel.json")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The choice, and one sentence why."""

    accel: Accel
    reason: str


class Host(Protocol):
    """What the verdict asks of the machine underneath."""

    def arch(self) -> str:
        """The architecture as uname names it."""

    def boot_id(self) -> str:
        """One value for each boot of the host: another boot may have another KVM."""

    def why_no_kvm(self) -> str:
        """Empty when /dev/kvm opens for this user, else why it does not."""

    def probe(self, arch: Arch, kernel: Path) -> str:
        """Boot `kernel` under KVM without a root; empty if it panicked and reset, else why not."""


def choose(
    arch: Arch, kernel: Path, *, wish: str = "", host: Host | None = None, cache: Path = CACHED
) -> Verdict:
    """The accelerator for guests of `arch`; `kernel` is what a probe boots.

    `wish` stands for the environment's PHASE_ACCEL where it is not empty. Raises ValueError for a
    wish that is none of auto, kvm and tcg.
    """
    wish = wish or os.environ.get(VARIABLE, "auto")
    if wish in tuple(Accel):
        return Verdict(Accel(wish), f"{VARIABLE}={wish} says so")
    if wish != "auto":
        raise ValueError(f"{VARIABLE} is {wish!r}; it may be auto, kvm or tcg.")
    host = host or RealHost()
    with suppress(ValueError):
        if Arch.parse(host.arch()) is arch:
            return _native(arch, kernel, host, cache)
    return Verdict(Accel.TCG, f"{arch} is foreign to this {host.arch()} host")


def _native(arch: Arch, kernel: Path, host: Host, cache: Path) -> Verdict:
    closed = host.why_no_kvm()
    if closed:
        return Verdict(Accel.TCG, closed)
    key = f"{host.boot_id()} {hashlib.sha256(kernel.read_bytes()).hexdigest()}"
    known = _remembered(cache)
    if key not in known:
        known = {key: host.probe(arch, kernel)}
        with suppress(OSError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            cache.write_text(json.dumps(known) + "\n")
    if known[key]:
        return Verdict(Accel.TCG, f"a probe boot under KVM failed: {known[key]}")
    return Verdict(Accel.KVM, "a probe boot under KVM worked")


def _remembered(cache: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(cache.read_text())
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if isinstance(value, str)}
    return {}


class RealHost:
    """The machine this runs on."""

    def arch(self) -> str:
        """As uname names it."""
        return platform.machine()

    def boot_id(self) -> str:
        """Linux's own, from /proc."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def why_no_kvm(self) -> str:
        """Empty when /dev/kvm opens for reading and writing."""
        try:
            os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return f"/dev/kvm does not open: {error.strerror}"
        return ""

    def probe(self, arch: Arch, kernel: Path) -> str:
        """QEMU with -no-reboot ends by itself as soon as the panicked kernel resets."""
        board = QEMU_PLATFORMS[arch]
        argv = [
            board.program,
            *("-machine", board.kvm_machine),
            *("-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "512"),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(kernel), "-append", "panic=-1 quiet"),
        ]
        with tempfile.TemporaryFile() as said:
            try:
                done = subprocess.run(
                    argv,
                    check=False,
                    timeout=PROBE_SECONDS,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            except subprocess.TimeoutExpired:
                return f"it did not end within {PROBE_SECONDS:g} s"
            except OSError as error:
                return str(error)
            said.seek(0)
            first = said.readline().decode(errors="replace").strip()
        return f"QEMU ended with {done.returncode}: {first}" if done.returncode else ""


def fastest(hardware: Hardware, image: Path) -> Hardware:
    """The same machine with the accelerator that this host is able to give it.

    The stick's own kernel is what a probe would boot.
    """
    with tempfile.TemporaryDirectory(prefix="phase-probe-") as folder:
        stick = DiskImage.copied(image, Path(folder) / "stick.img")
        kernel = Path(folder) / "kernel"
        kernel.write_bytes(stick.boot_file("linux"))
        return replace(hardware, accel=choose(hardware.arch, kernel).accel)
