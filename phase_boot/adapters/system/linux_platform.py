"""Reads machine facts from /proc, /sys and the kernel command line."""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.handoff.cmdline import MAX_READ, PREFIX, parse
from phase_boot.machine.errors import NotConfigured
from phase_boot.ports.platform import Facts
from policies.model import Mode, Policy, PolicyError
from policies.read import read_policy

SEED_POLICIES: Final = Path("/etc/phase-boot")
BUILT: Final = Path("/etc/phase-boot/built")
"""Build time of the seed (RFC 3339), written by the builder."""
STAGES: Final = Path("/run/phase-boot/stages")
EFI_VARIABLES: Final = Path("/sys/firmware/efi/efivars")
LOADER_GUID: Final = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""Vendor GUID of the systemd Boot Loader Interface."""
DMI: Final = (Path("/sys/class/dmi/id/sys_vendor"), Path("/sys/class/dmi/id/product_name"))
TREE: Final = Path("/proc/device-tree/model")
MAX_MODEL: Final = 60
"""Bytes that are read of a name, at most."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LinuxPlatform:
    """Implements `ports.platform.Platform`.

    Args:
        policy: the policy file; None reads the seed's policy of the mode.
        mode: overrides the mode of the kernel command line.
        url: overrides the manifest URL of the kernel command line.
        root: where /proc, /sys, /etc and /run are, for tests.
    """

    def __init__(
        self,
        *,
        policy: Path | None = None,
        mode: str | None = None,
        url: str | None = None,
        root: Path = Path("/"),
    ) -> None:
        self._policy = policy
        self._mode = mode
        self._url = url
        self._root = root

    async def facts(self) -> Facts:
        """Return the machine facts; the command line selects the mode."""
        words = _words((self._root / "proc/cmdline").read_bytes()[:MAX_READ])
        mode = self._mode or words.get("phase.mode") or self._only_mode()
        if mode not in set(Mode):
            raise NotConfigured(
                f"{mode!r} is no mode; choose Internet, Local or Private in the boot menu"
            )
        try:
            arch = Arch.parse(os.uname().machine)
        except ValueError as error:
            raise NotConfigured(f"this machine is neither amd64 nor arm64: {error}") from error
        return Facts(
            arch=arch,
            mode=mode,
            url=self._url or words.get("phase.url"),
            built=self._built(),
            stages=tuple(self._stages()),
            model=self._model(),
        )

    async def policy(self, mode: str) -> Policy:
        """Read the policy; its `mode` must equal ``mode``."""
        path = self._policy or self._under(SEED_POLICIES) / f"{mode}.toml"
        try:
            policy = read_policy(path)
        except PolicyError as error:
            raise NotConfigured(f"the policy is not usable: {error}") from error
        if policy.mode != mode:
            raise NotConfigured(f"{path} is a policy of mode {policy.mode}, not {mode}")
        return policy

    def memory_available(self) -> int:
        """Return MemAvailable of /proc/meminfo, in bytes."""
        text = (self._root / "proc/meminfo").read_text()
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
        return int(found.group(1)) * 1024 if found else 0

    def rss_peak(self) -> int:
        """Return the sum of the peak resident sizes of this process and its children, in bytes.

        Shared pages count in each process.
        """
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return own + sum(self._peak_of(child) for child in self._children())

    def _children(self) -> Iterator[int]:
        for listing in sorted((self._root / "proc/self/task").glob("*/children")):
            with contextlib.suppress(OSError, ValueError):
                yield from map(int, listing.read_text().split())

    def _peak_of(self, process: int) -> int:
        with contextlib.suppress(OSError):
            text = (self._root / f"proc/{process}/status").read_text()
            if found := re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE):
                return int(found.group(1)) * 1024
        return 0

    def _model(self) -> str | None:
        """Return the product name of the firmware (DMI, or the device tree's model)."""
        said = [self._said(path) for path in DMI] if self._said(DMI[1]) else [self._said(TREE)]
        return " ".join(filter(None, said)) or None

    def _said(self, path: Path) -> str:
        try:
            with self._under(path).open("rb") as file:
                text = file.read(MAX_MODEL).decode("ascii", "replace")
        except OSError:
            return ""
        return "".join(c for c in text if c.isprintable()).strip()

    def _only_mode(self) -> str:
        """Return the mode of the policy file, which decides it outside the seed."""
        if self._policy is None:
            return Mode.INTERNET
        try:
            return read_policy(self._policy).mode
        except PolicyError as error:
            raise NotConfigured(f"the policy is not usable: {error}") from error

    def _built(self) -> datetime:
        try:
            built = datetime.fromisoformat(self._under(BUILT).read_text().strip())
        except (OSError, ValueError):
            return EPOCH
        return built if built.tzinfo else built.replace(tzinfo=UTC)

    def _stages(self) -> Iterator[tuple[str, float]]:
        yield from self._firmware_stages()
        yield "kernel", 0.0
        try:
            lines = self._under(STAGES).read_text().splitlines()[:32]
        except OSError:
            lines = []
        for line in lines:
            name, _, reached = line.partition(" ")
            if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", reached):
                yield name[:32], float(reached)
        yield "daemon", self._process_started()

    def _firmware_stages(self) -> Iterator[tuple[str, float]]:
        """Yield the start of firmware and loader in seconds before the kernel (negative)."""
        init, start = (
            self._loader_time("LoaderTimeInitUSec"),
            self._loader_time("LoaderTimeExecUSec"),
        )
        if init is not None and start is not None and init <= start:
            yield "firmware", -start
            yield "loader", init - start

    def _loader_time(self, name: str) -> float | None:
        path = self._under(EFI_VARIABLES) / f"{name}-{LOADER_GUID}"
        try:
            # Four bytes of attributes, then a decimal number in UTF-16.
            text = path.read_bytes()[4:64].decode("utf-16-le").rstrip("\0")
            return int(text) / 1e6
        except (OSError, ValueError):
            return None

    def _process_started(self) -> float:
        fields = (self._root / "proc/self/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")

    def _under(self, path: Path) -> Path:
        return self._root / path.relative_to("/")


def _words(cmdline: bytes) -> dict[str, str]:
    """Return the first value of each `phase.` parameter of the kernel command line."""
    found: dict[str, str] = {}
    for word in parse(cmdline.decode("ascii", "replace")).parameters:
        if word.key.startswith(PREFIX):
            found.setdefault(word.key, word.value or "")
    return found
