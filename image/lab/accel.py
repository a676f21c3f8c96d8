"""Choose QEMU's accelerator: KVM where a probe boot works, otherwise emulation (TCG).

The environment variable `PHASE_ACCEL=auto|kvm|tcg` decides. `auto` uses KVM only for the host's own
architecture, if /dev/kvm opens and a probe boot ends: a kernel without a root file system panics,
`panic=-1` resets the machine, and QEMU exits. This detects hosts whose KVM hangs, as nested
virtualisation can.
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
CACHE: Final = Path("build/accel.json")


@dataclass(frozen=True, slots=True)
class AccelChoice:
    """The accelerator, and one sentence with the reason."""

    accel: Accel
    reason: str


class HostProbe(Protocol):
    """Facts about the host on which the choice depends."""

    def arch(self) -> str:
        """Return the architecture, as `uname -m` prints it."""

    def boot_id(self) -> str:
        """Return an identifier of the host's boot: another boot may have another KVM."""

    def why_no_kvm(self) -> str:
        """Return why /dev/kvm does not open for this user; empty if it does."""

    def probe(self, arch: Arch, kernel: Path) -> str:
        """Boot `kernel` under KVM; return why the probe failed, empty if it panicked and reset."""


def choose_accel(
    arch: Arch,
    kernel: Path,
    *,
    request: str = "",
    host: HostProbe | None = None,
    cache: Path = CACHE,
) -> AccelChoice:
    """Choose the accelerator for guests of `arch`; a probe boots `kernel`.

    `request` overrides PHASE_ACCEL. Probe results are kept in the file `cache`.

    Raises:
        ValueError: the request is none of auto, kvm and tcg.
    """
    request = request or os.environ.get(VARIABLE, "auto")
    if request in tuple(Accel):
        return AccelChoice(Accel(request), f"{VARIABLE}={request} is set")
    if request != "auto":
        raise ValueError(f"{VARIABLE} is {request!r}; set it to auto, kvm or tcg.")
    host = host or LinuxHostProbe()
    with suppress(ValueError):
        if Arch.parse(host.arch()) is arch:
            return _native(arch, kernel, host, cache)
    return AccelChoice(Accel.TCG, f"{arch} is not the architecture of this {host.arch()} host")


def _native(arch: Arch, kernel: Path, host: HostProbe, cache: Path) -> AccelChoice:
    closed = host.why_no_kvm()
    if closed:
        return AccelChoice(Accel.TCG, closed)
    key = f"{host.boot_id()} {hashlib.sha256(kernel.read_bytes()).hexdigest()}"
    known = _cached(cache)
    if key not in known:
        known = {key: host.probe(arch, kernel)}
        with suppress(OSError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            cache.write_text(json.dumps(known) + "\n")
    if known[key]:
        return AccelChoice(Accel.TCG, f"a probe boot under KVM failed: {known[key]}")
    return AccelChoice(Accel.KVM, "a probe boot under KVM worked")


def _cached(cache: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(cache.read_text())
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if isinstance(value, str)}
    return {}


class LinuxHostProbe:
    """The Linux host on which this runs."""

    def arch(self) -> str:
        """As `uname -m` prints it."""
        return platform.machine()

    def boot_id(self) -> str:
        """From /proc/sys/kernel/random/boot_id."""
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
        qemu = QEMU_PLATFORMS[arch]
        argv = [
            qemu.program,
            *("-machine", qemu.kvm_machine),
            *("-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "512"),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(kernel), "-append", "panic=-1 quiet"),
        ]
        with tempfile.TemporaryFile() as output:
            try:
                done = subprocess.run(
                    argv,
                    check=False,
                    timeout=PROBE_SECONDS,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            except subprocess.TimeoutExpired:
                return f"it did not end within {PROBE_SECONDS:g} s"
            except OSError as error:
                return str(error)
            output.seek(0)
            first_line = output.readline().decode(errors="replace").strip()
        return f"QEMU ended with {done.returncode}: {first_line}" if done.returncode else ""


def with_best_accel(hardware: Hardware, image: Path) -> Hardware:
    """Return `hardware` with the best accelerator; a probe boots the kernel of `image`."""
    with tempfile.TemporaryDirectory(prefix="phase-probe-") as folder:
        stick = DiskImage.copy_of(image, Path(folder) / "stick.img")
        kernel = Path(folder) / "kernel"
        kernel.write_bytes(stick.boot_file("linux"))
        return replace(hardware, accel=choose_accel(hardware.arch, kernel).accel)
